"""An attempt at scoring a day: its number, a table of its own, and what that table holds.

    begin_attempt   draw a number, make stage_<number>       (the job, once per try)
    stage           one task's rows, all or none, any number of times  (staging.py; each task)
    finish_attempt  count, sum up, and seal the table against writers        (the job)
    publish         make it visible                                    (publish.py)

The connection that began an attempt must stay open until it is finished: its session says
"somebody is still at work on this". The table is the owner's; the scorer may insert into it until
it is sealed, and read it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from lockstep.errors import UsageError
from lockstep.warehouse.connect import answering
from lockstep.warehouse.leftovers import clear_leftovers

__all__ = [
    "Attempt",
    "begin_attempt",
    "finish_attempt",
    "latest_attempt",
    "publish_id",
    "read_attempt",
]

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
        (number,) = _one(
            conn,
            "SELECT begin_attempt(%s, %s, %s, %s::integer, %s::integer, %s, %s::bigint, %s)",
            (day, publish_id, digest, model_version, approval, input_fingerprint, input_rows,
             run_id),
        )  # fmt: skip
        return read_attempt(conn, number)


def finish_attempt(conn: psycopg.Connection[Any], attempt: Attempt) -> Attempt:
    """Seal the attempt's table and note its rows and checksum. Not to be undone.

    Raises PublishRefused when rows are missing or too many (the table stays for a look at it),
    Fenced when a later attempt gave this one up.
    """
    if not attempt.needs_scoring or attempt.stage_table is None:
        return attempt
    with answering(conn, waits_for=(attempt.stage_table,)), conn.transaction():
        conn.execute("SET LOCAL lock_timeout = '60s'")
        conn.execute("SELECT finish_attempt(%s)", (attempt.number,))
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


def read_attempt(conn: psycopg.Connection[Any], number: int) -> Attempt:
    """The attempt as it is now."""
    with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        found = cursor.execute(
            f"SELECT {_COLUMNS} FROM batch_attempts WHERE attempt = %s", (number,)
        ).fetchone()
    assert found is not None  # noqa: S101 - written by the caller, never deleted
    return found


def _one(conn: psycopg.Connection[Any], query: LiteralString, given: tuple[object, ...]) -> Any:
    row = conn.execute(query, given).fetchone()
    assert row is not None  # noqa: S101 - a function's one row
    return row
