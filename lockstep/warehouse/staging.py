"""One task's rows into an attempt's table: all or none, any number of times.

A retried Spark task must not double a row, and a killed one must not leave half of its rows.
ADBC sends Arrow batches to Postgres as they are, at several times the speed of JDBC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from psycopg import sql

from lockstep.errors import ContractError, Fenced, PublishRefused, Unreachable, UsageError
from lockstep.trouble import Trouble
from lockstep.warehouse.attempts import (
    Attempt,
    begin_attempt,
    finish_attempt,
    latest_attempt,
    publish_id,
)
from lockstep.warehouse.connect import where
from lockstep.warehouse.trouble import state_trouble

__all__ = [
    "STAGED",
    "Attempt",
    "begin_attempt",
    "finish_attempt",
    "latest_attempt",
    "publish_id",
    "stage",
]

STAGED = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("entity", pa.string()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("margin", pa.float32()),
        pa.field("window_values", pa.list_(pa.float32())),
    ]
)
"""What a task hands to `stage`: one row for each scored event. Nullable columns may be absent."""


def stage(
    conninfo: str, attempt: Attempt, batches: Iterable[pa.RecordBatch] | pa.RecordBatchReader
) -> int:
    """Put one task's rows into the attempt's table, in one transaction. Returns how many.

    Doing it again, whole or in part, changes nothing: rows go through a temporary table and
    those that are there already stay as they are. Columns as in STAGED.
    Raises Fenced when the attempt was given up or is finished, ContractError for a column that
    is missing or of another type, and whatever `batches` raises.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise UsageError(
            "staging needs the ADBC driver for Postgres, which is not installed",
            next="uv sync --extra batch",
        ) from None
    if attempt.stage_table is None:
        raise Fenced(f"attempt {attempt.number} has no table: its rows were published before")
    incoming = _Incoming(batches)
    reader = pa.RecordBatchReader.from_batches(STAGED, incoming)
    insert = sql.SQL(
        "INSERT INTO {table} (event_date, publish_id, {names}) SELECT {day}, {publish_id}, {names}"
        " FROM pg_temp.incoming ON CONFLICT DO NOTHING"
    ).format(
        table=sql.Identifier(attempt.stage_table),
        names=sql.SQL(", ").join(map(sql.Identifier, STAGED.names)),
        day=sql.Literal(attempt.day),
        publish_id=sql.Literal(attempt.publish_id),
    )
    try:
        with dbapi.connect(conninfo) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("incoming", reader, mode="create", temporary=True)
            cursor.execute(insert.as_string())
            connection.commit()
    except dbapi.Error as error:
        if incoming.failure:
            raise incoming.failure from None
        raise _translated(error, attempt, conninfo) from error
    return incoming.rows


class _Incoming:
    """The batches of one task on their way to the driver: conformed and counted."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0
        self.failure: Exception | None = None
        """What went wrong on this side; the driver would report it as its own trouble."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                yield pa.RecordBatch.from_arrays(
                    [_column(batch, field) for field in STAGED], schema=STAGED
                )
        except Exception as error:
            self.failure = error
            raise


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        if not field.nullable:
            raise ContractError(f"rows to stage have no column {field.name}")
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    if column.type != field.type:
        moment = pa.types.is_timestamp(column.type) and pa.types.is_timestamp(field.type)
        if not (moment and column.type.tz) and not pa.types.is_large_string(column.type):
            raise ContractError(f"rows to stage: {field.name} is {column.type}, not {field.type}")
        return column.cast(field.type)
    return column


def _translated(error: Any, attempt: Attempt, conninfo: str) -> Exception:
    state = getattr(error, "sqlstate", None)
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if state in ("42P01", "42501"):  # the table is gone, or sealed
        return Fenced(
            f"attempt {attempt.number} takes no more rows: {text}",
            left="nothing of this task",
            next="let the newest attempt at this day finish",
        )
    if state_trouble(state) is Trouble.PASSING:
        return Unreachable(
            f"the warehouse at {where(conninfo)} does not answer: {text}"
            if state is None
            else f"the warehouse at {where(conninfo)} could not take rows ({state}): {text}",
            left="nothing of this task",
            next="lockstep status; then run the day again",
        )
    return PublishRefused(
        f"attempt {attempt.number}: the warehouse refused rows ({state}): {text}",
        left="nothing of this task",
        next="look at the scored rows of this day",
    )
