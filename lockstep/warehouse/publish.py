"""Make an attempt's rows visible: attach them where nobody looks yet, then point readers there.

Two transactions, each of which begins with the same questions:

    1. One publish of this day at a time, and no approval while it runs (advisory locks).
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

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from lockstep.errors import PublishRefused
from lockstep.warehouse.attempts import Attempt, read_attempt
from lockstep.warehouse.connect import answering
from lockstep.warehouse.partitions import batch_day_table, is_attached, publish_table

__all__ = ["APPROVALS_LOCK", "Current", "Published", "current", "publish"]

APPROVALS_LOCK = "hashtextextended('lockstep approvals ' || current_schema(), 0)"
"""Held shared by a publish and alone by an approval: one comes wholly before the other."""
_DAY_LOCK = "hashtextextended('lockstep publish ' || current_schema() || ' ' || %s, 0)"


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
    with answering(conn), conn.transaction():
        attempt, before = _checked(conn, attempt, at)
        at("rows")  # 5
        if before and before.publish_id == attempt.publish_id:
            if attempt.state == "staged":
                _close(conn, attempt, "unchanged")
            return Published("unchanged", attempt.publish_id, before)
        _place(conn, attempt)
    at("attached")
    with answering(conn), conn.transaction():
        conn.execute("SET LOCAL lock_timeout = '15s'")
        # Changes nothing. A plan that was being made while the table was attached may have
        # missed it, and would be kept for good: only a change of the table that the query
        # names makes a session look at it again.
        conn.execute(  # 6
            "ALTER TABLE predictions_batch ALTER COLUMN event_date SET STATISTICS -1"
        )
    at("told")
    with answering(conn), conn.transaction():
        attempt, before = _checked(conn, attempt, at)
        if before and before.publish_id == attempt.publish_id:
            _close(conn, attempt, "unchanged")
            return Published("unchanged", attempt.publish_id, before)
        at("current")  # 7
        known = conn.execute(
            "SELECT 1 FROM publish_log WHERE event_date = %s AND publish_id = %s",
            (day, attempt.publish_id),
        ).fetchone()
        conn.execute(
            "INSERT INTO current_publish (event_date, publish_id, attempt) VALUES (%s, %s, %s)"
            " ON CONFLICT (event_date) DO UPDATE"
            " SET publish_id = excluded.publish_id, attempt = excluded.attempt",
            (day, attempt.publish_id, number),
        )
        at("log")
        conn.execute(
            "INSERT INTO publish_log (attempt, event_date, publish_id, approval, model_version,"
            " digest, rows, checksum, input_fingerprint, run_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (number, day, attempt.publish_id, attempt.approval, attempt.model_version,
             attempt.digest, attempt.staged_rows, attempt.checksum, attempt.input_fingerprint,
             attempt.run_id),
        )  # fmt: skip
        _close(conn, attempt, "published")
        after = current(conn, day)
        assert after is not None  # noqa: S101 - written just above
        at("commit")
    at("committed")
    how: Literal["attached", "switched"] = "switched" if known else "attached"
    return Published(how, before.publish_id if before else None, after)


def _checked(
    conn: psycopg.Connection[Any], attempt: Attempt, at: Callable[[str], None]
) -> tuple[Attempt, Current | None]:
    """Steps 1 to 4 of a transaction: the attempt as it is now, and what readers see of its day."""
    # Each statement must see what was committed before it, also where the server's default
    # isolation is another.
    conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    conn.execute("SET LOCAL lock_timeout = '15s'")
    at("lock")  # 1
    conn.execute(f"SELECT pg_advisory_xact_lock_shared({APPROVALS_LOCK})")
    conn.execute(f"SELECT pg_advisory_xact_lock({_DAY_LOCK})", (attempt.day.isoformat(),))
    at("attempt")  # 2
    attempt = read_attempt(conn, attempt.number, lock=True)
    before = current(conn, attempt.day)
    done = attempt.state in ("published", "unchanged")
    if done and before and before.publish_id == attempt.publish_id:
        return attempt, before
    if attempt.state in ("staging", "abandoned"):
        raise PublishRefused(
            f"attempt {attempt.number} at {attempt.day} cannot be published: it is {attempt.state}",
            left=_what_readers_see(before),
            next="run the day again",
        )
    at("approval")  # 3
    _check_approval(conn, attempt, before)
    at("higher")  # 4
    _check_higher(conn, attempt, before)
    return attempt, before


def _check_approval(
    conn: psycopg.Connection[Any], attempt: Attempt, before: Current | None
) -> None:
    newest = conn.execute(
        "SELECT sequence, model_version, digest FROM approvals ORDER BY sequence DESC LIMIT 1"
    ).fetchone()
    if newest is None or newest[2] != attempt.digest:
        now = f"approval {newest[0]} names version {newest[1]}" if newest else "nothing is approved"
        raise PublishRefused(
            f"attempt {attempt.number} at {attempt.day} was scored with version"
            f" {attempt.model_version} (digest {attempt.digest[:12]}), but {now}"
            + (f" (digest {newest[2][:12]})" if newest else ""),
            left=_what_readers_see(before),
            next="run the day again: it takes the approved model",
        )


def _check_higher(conn: psycopg.Connection[Any], attempt: Attempt, before: Current | None) -> None:
    # An attempt that found its rows current already counts as well: it looked later than we did.
    higher = conn.execute(
        "SELECT max(attempt) FROM batch_attempts WHERE event_date = %s AND attempt > %s"
        " AND state IN ('published', 'unchanged')",
        (attempt.day, attempt.number),
    ).fetchone()
    if higher and higher[0] is not None:
        raise PublishRefused(
            f"attempt {attempt.number} at {attempt.day} came too late: "
            f"attempt {higher[0]} was published",
            left=_what_readers_see(before),
            next="nothing: the newer attempt stands",
        )


def _place(conn: psycopg.Connection[Any], attempt: Attempt) -> None:
    """Attach the staged table under its publish_id, if the warehouse does not hold it already."""
    day_table = batch_day_table(attempt.day)
    name = publish_table(attempt.day, attempt.publish_id)
    if is_attached(conn, day_table, name):
        return
    if attempt.stage_table is None:
        raise PublishRefused(
            f"attempt {attempt.number} at {attempt.day} counted on an older publish "
            f"({attempt.publish_id}) that is gone",
            next="run the day again: it will be scored",
        )
    values = {
        "stage": sql.Identifier(attempt.stage_table),
        "name": sql.Identifier(name),
        "day": sql.Identifier(day_table),
        "publish_id": sql.Literal(attempt.publish_id),
    }
    conn.execute(sql.SQL("ALTER TABLE {stage} RENAME TO {name}").format(**values))
    conn.execute(
        sql.SQL("ALTER TABLE {day} ATTACH PARTITION {name} FOR VALUES IN ({publish_id})").format(
            **values
        )
    )
    # From here on it belongs to the publish_id, and to whichever attempt publishes that.
    conn.execute(
        "UPDATE batch_attempts SET stage_table = NULL WHERE attempt = %s", (attempt.number,)
    )


def _close(conn: psycopg.Connection[Any], attempt: Attempt, state: str) -> None:
    if attempt.stage_table:  # not needed: its rows are there under the same publish_id
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(attempt.stage_table)))
    conn.execute(
        "UPDATE batch_attempts SET state = %s, stage_table = NULL WHERE attempt = %s",
        (state, attempt.number),
    )


def _what_readers_see(before: Current | None) -> str:
    if before is None:
        return "the day unpublished, as it was"
    return f"the day as it was: publish {before.publish_id[:12]} with {before.rows} rows"
