"""Make an attempt's rows visible: attach them where nobody looks yet, then point readers there.

Two functions of the owner do it, `place_publish` and `switch_publish`, each in a transaction that
begins with the same questions:

    1. One publish of this day at a time, and no approval while it runs (locks on the day's table
       and on the approvals, which no role but the owner can take).
    2. The attempt as it is now: staged, not given up.
    3. The approval again: the newest must name the attempt's digest.
    4. Refuse when a higher attempt at this day was published.

The first goes on with

    5. Attach the staged table to its day, under the publish_id, unless the warehouse holds
       this publish already.

then, on its own, so that nobody who sees what follows can have missed it,

    6. Tell every session that its plans over predictions_batch are out of date.

and the second ends with

    7. The day's current publish, the publish log, the attempt's state.

Readers never wait: no lock here conflicts with reading, and what they see changes with one row
of current_publish. docs/adr/0006 says why it takes more than one commit. Killed before the last
one, nothing has happened for a reader, and the next publish of these rows finds them attached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from lockstep.warehouse.attempts import Attempt
from lockstep.warehouse.connect import answering

__all__ = ["Current", "Published", "current", "publish"]


@dataclass(frozen=True)
class Current:
    """What readers see of a day."""

    day: date
    publish_id: str
    attempt: int
    rows: int
    checksum: str
    model_version: int
    digest: str
    input_fingerprint: str
    published_at: datetime


@dataclass(frozen=True)
class Published:
    """What a publish did: attached new rows, switched back to rows it held, or nothing."""

    how: Literal["attached", "switched", "unchanged"]
    before: str | None
    """The publish_id that was current."""
    current: Current

    @property
    def changed(self) -> bool:
        return self.how != "unchanged"


def current(conn: psycopg.Connection[Any], day: date) -> Current | None:
    """The current publish of a day, or None."""
    with answering(conn), conn.cursor(row_factory=class_row(Current)) as cursor:
        return cursor.execute(
            "SELECT l.event_date AS day, l.publish_id, l.attempt, l.rows, l.checksum,"
            " l.model_version, l.digest, l.input_fingerprint, l.published_at"
            " FROM current_publish c JOIN publish_log l ON l.attempt = c.attempt"
            " WHERE c.event_date = %s",
            (day,),
        ).fetchone()


def publish(
    conn: psycopg.Connection[Any],
    attempt: Attempt,
    *,
    at: Callable[[str], None] = lambda step: None,
) -> Published:
    """Publish an attempt: the steps above. `at` is told each step before it begins.

    Raises PublishRefused (a higher attempt was published, the approval has moved on, nothing is
    staged) or Transient when a lock does not come within 15 s.
    """
    day, number = attempt.day, attempt.number
    with _half(conn, attempt):
        at("place")  # 1 to 5
        before = current(conn, day)
        placed = conn.execute("SELECT place_publish(%s)", (number,)).fetchone()
        at("placed")
        if placed != (True,):
            return _unchanged(conn, day)
    at("attached")
    with _half(conn, attempt):
        conn.execute("SELECT tell_readers()")  # 6
    at("told")
    with _half(conn, attempt):
        at("switch")  # 1 to 4 again, then 7
        switched = conn.execute("SELECT switch_publish(%s)", (number,)).fetchone()
        assert switched is not None  # noqa: S101 - a function's one row
        (how,) = switched
        if how == "unchanged":
            return _unchanged(conn, day)
        after = current(conn, day)
        assert after is not None  # noqa: S101 - written just above
        at("switched")
    at("committed")
    return Published(how, before.publish_id if before else None, after)


@contextmanager
def _half(conn: psycopg.Connection[Any], attempt: Attempt) -> Iterator[None]:
    tables = ("approvals", "batch_attempts", attempt.stage_table or "")
    with answering(conn, waits_for=tables), conn.transaction():
        # Each statement must see what was committed before it, also where the server's default
        # isolation is another.
        conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        conn.execute("SET LOCAL lock_timeout = '15s'")
        yield


def _unchanged(conn: psycopg.Connection[Any], day: date) -> Published:
    now = current(conn, day)
    assert now is not None  # noqa: S101 - locked, and found by the function
    return Published("unchanged", now.publish_id, now)
