"""An attempt at scoring a day: its number, a table of its own, and what that table holds.

    begin_attempt   draw a number, make stage_<number>       (the job, once per try)
    stage           one task's rows, all or none, any number of times  (staging.py; each task)
    finish_attempt  count, sum up, and seal the table against writers        (the job)
    publish         make it visible                                    (publish.py)

The connection that began an attempt must stay open until it is finished: its session holds an
advisory lock that says "somebody is still at work on this".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from lockstep.errors import Fenced, PublishRefused, UsageError
from lockstep.warehouse.connect import answering
from lockstep.warehouse.leftovers import ATTEMPT_LOCK, clear_leftovers
from lockstep.warehouse.partitions import (
    batch_day_table,
    ensure_batch_day,
    is_attached,
    publish_table,
)

__all__ = [
    "Attempt",
    "begin_attempt",
    "finish_attempt",
    "latest_attempt",
    "publish_id",
    "read_attempt",
]

# Rows have no order and a table's pages differ from run to run, so the checksum is a sum over
# rows. record_send is Postgres's own unambiguous binary form of a row: lengths, nulls and the
# bits of every float, -0.0 and NaN included.
_SUMMARY = """
    SELECT count(*), coalesce(sum(('x' || encode(substr(sha256(record_send(
        ROW(event_id, event_time, entity, score, margin, window_values))), 1, 8), 'hex')
    )::bit(64)::bigint::numeric), 0)::text FROM {table}
"""
_COLUMNS = (
    "attempt AS number, event_date AS day, publish_id, digest, model_version, approval,"
    " input_fingerprint, input_rows, run_id, stage_table, staged_rows, checksum, state"
)


@dataclass(frozen=True)
class Attempt:
    """One row of batch_attempts. Plain values: it may be sent to a Spark task."""

    number: int
    day: date
    publish_id: str
    digest: str
    model_version: int
    approval: int
    input_fingerprint: str
    input_rows: int
    run_id: str
    stage_table: str | None
    """None: these very rows were published before; there is nothing to score."""
    staged_rows: int | None
    checksum: str | None
    state: str
    """staging, staged, published, unchanged (was current already) or abandoned."""

    @property
    def needs_scoring(self) -> bool:
        return self.state == "staging"


def publish_id(use_case: str, day: date, digest: str, input_fingerprint: str) -> str:
    """The identity of a publish, 32 hex digits: same input and model, same id."""
    parts = json.dumps([use_case, day.isoformat(), digest, input_fingerprint])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def begin_attempt(
    conn: psycopg.Connection[Any],
    *,
    day: date,
    publish_id: str,
    digest: str,
    model_version: int,
    approval: int,
    input_fingerprint: str,
    input_rows: int,
    run_id: str,
) -> Attempt:
    """Draw an attempt's number and make its table. `input_rows`: how many must be staged.

    When the warehouse still holds this publish_id of the day, the attempt needs no scoring: it
    is finished already, and publishing it makes those rows current again. Clears what dead
    attempts left behind. `conn` must stay open until `finish_attempt`.
    """
    with answering(conn):
        clear_leftovers(conn)
        ensure_batch_day(conn, day)
        with conn.transaction():
            number: int = _one(conn, "SELECT nextval('attempt_numbers')")[0]
            held = _held(conn, day, publish_id)
            rows, checksum = held or (None, None)
            table = None if held else f"stage_{number}"
            if table:
                # Before the row can be seen: no other attempt may take this one for dead.
                conn.execute(f"SELECT pg_advisory_lock({ATTEMPT_LOCK})", (number,))
                _make_stage(conn, table, day, publish_id)
            conn.execute(
                "INSERT INTO batch_attempts (attempt, event_date, publish_id, digest,"
                " model_version, approval, input_fingerprint, input_rows, run_id, stage_table,"
                " staged_rows, checksum, state, finished_at) VALUES (%s, %s, %s, %s, %s, %s,"
                " %s, %s, %s, %s, %s, %s, %s, CASE WHEN %s THEN now() END)",
                (number, day, publish_id, digest, model_version, approval, input_fingerprint,
                 input_rows, run_id, table, rows, checksum, "staged" if held else "staging",
                 bool(held)),
            )  # fmt: skip
        return read_attempt(conn, number)


def finish_attempt(conn: psycopg.Connection[Any], attempt: Attempt) -> Attempt:
    """Seal the attempt's table and note its rows and checksum. Not to be undone.

    Raises PublishRefused when rows are missing or too many (the table stays for a look at it),
    Fenced when a later attempt gave this one up.
    """
    if not attempt.needs_scoring or attempt.stage_table is None:
        return attempt
    table = sql.Identifier(attempt.stage_table)
    with answering(conn), conn.transaction():
        conn.execute("SET LOCAL lock_timeout = '60s'")
        if read_attempt(conn, attempt.number, lock=True).state != "staging":
            raise Fenced(
                f"attempt {attempt.number} at {attempt.day} was given up by a later one",
                left="nothing of this attempt",
                next="let the newest attempt at this day finish, or run the day again",
            )
        # Waits for a task that is still writing, and keeps a late one out: what is counted here
        # is what will be published. The owner takes its own right to write, so a task that
        # outlived its job (a zombie) fails from now on.
        conn.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
        conn.execute(
            sql.SQL("REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {} FROM CURRENT_USER").format(table)
        )
        rows, checksum = _one(conn, sql.SQL(_SUMMARY).format(table=table))
        if rows != attempt.input_rows:
            raise PublishRefused(
                f"attempt {attempt.number} staged {rows} rows for {attempt.day}, "
                f"its input has {attempt.input_rows}",
                left=f"the table {attempt.stage_table}, until a later attempt clears it",
                next="run the day again",
            )
        conn.execute(sql.SQL("ANALYZE {}").format(table))
        conn.execute(
            "UPDATE batch_attempts SET state = 'staged', staged_rows = %s, checksum = %s,"
            " finished_at = now() WHERE attempt = %s",
            (rows, checksum, attempt.number),
        )
    conn.execute(f"SELECT pg_advisory_unlock({ATTEMPT_LOCK})", (attempt.number,))
    return read_attempt(conn, attempt.number)


def latest_attempt(conn: psycopg.Connection[Any], run_id: str, day: date) -> Attempt:
    """The highest finished attempt of a run at a day. Raises UsageError when there is none."""
    with answering(conn), conn.cursor(row_factory=class_row(Attempt)) as cursor:
        found = cursor.execute(
            f"SELECT {_COLUMNS} FROM batch_attempts WHERE run_id = %s AND event_date = %s"
            " AND state IN ('staged', 'published', 'unchanged') ORDER BY attempt DESC LIMIT 1",
            (run_id, day),
        ).fetchone()
    if found is None:
        raise UsageError(
            f"the run {run_id!r} has no finished attempt at {day}",
            next="run its score task first",
        )
    return found


def _held(conn: psycopg.Connection[Any], day: date, publish_id: str) -> tuple[int, str] | None:
    """Rows and checksum of a publish that the warehouse still holds, current or not."""
    if not is_attached(conn, batch_day_table(day), publish_table(day, publish_id)):
        return None
    return conn.execute(
        "SELECT rows, checksum FROM publish_log WHERE event_date = %s AND publish_id = %s"
        " ORDER BY attempt LIMIT 1",
        (day, publish_id),
    ).fetchone()


def _make_stage(conn: psycopg.Connection[Any], table: str, day: date, publish_id: str) -> None:
    # The key and the checks are those of the place where it will be attached: Postgres then
    # believes them and attaches without reading a row.
    conn.execute(
        sql.SQL(
            "CREATE TABLE {table} (LIKE predictions_batch INCLUDING DEFAULTS INCLUDING STORAGE,"
            " PRIMARY KEY (event_date, publish_id, event_id, event_time),"
            " CONSTRAINT staged_day CHECK (event_date >= {day} AND event_date < {day} + 1),"
            " CONSTRAINT staged_publish CHECK (publish_id = {publish_id}))"
        ).format(
            table=sql.Identifier(table),
            day=sql.SQL("DATE {}").format(sql.Literal(day.isoformat())),
            publish_id=sql.Literal(publish_id),
        )
    )


def read_attempt(conn: psycopg.Connection[Any], number: int, *, lock: bool = False) -> Attempt:
    """The attempt as it is now; with `lock` nobody else changes it in this transaction."""
    with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        found = cursor.execute(
            f"SELECT {_COLUMNS} FROM batch_attempts WHERE attempt = %s"
            + (" FOR UPDATE" if lock else ""),
            (number,),
        ).fetchone()
    assert found is not None  # noqa: S101 - written by the caller, never deleted
    return found


def _one(conn: psycopg.Connection[Any], query: Any) -> Any:
    row = conn.execute(query).fetchone()
    assert row is not None  # noqa: S101 - queries without WHERE over one row
    return row
