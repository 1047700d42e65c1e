"""Stage tables of dead attempts, and when an attempt is dead.

No single session lives as long as an attempt: a job stages it, later tasks check and publish it,
perhaps hours later. So what counts as dead depends on how far it came:

- staging: dead when nobody holds its advisory lock. The job's session holds it from before the
  attempt can be seen until it is finished, and Postgres frees it when the session ends, however
  the job died. (A pooler that shares sessions between clients would break this.)
- staged: nobody needs to be alive, so age decides, except where it has become useless: a higher
  attempt at this day was published (this one would be refused) or a retry of the same run staged
  the day again (which is the one that will be published).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

__all__ = ["ATTEMPT_LOCK", "KEEP_STAGED", "clear_leftovers"]

ATTEMPT_LOCK = (
    "hashtextextended('lockstep attempt ' || current_schema() || ' ' || (%s::bigint)::text, 0)"
)
"""The advisory lock's key of an attempt's number."""
KEEP_STAGED = timedelta(days=7)
"""How long a staged attempt may wait for its check and publish; failed checks are kept as long."""

_CANDIDATES = """
    SELECT a.attempt, a.stage_table, a.state FROM batch_attempts a
    WHERE a.stage_table IS NOT NULL AND (a.state = 'staging' OR a.state = 'staged' AND (
        a.finished_at < now() - %s
        OR EXISTS (
            SELECT 1 FROM batch_attempts b
            WHERE b.event_date = a.event_date AND b.attempt > a.attempt
              AND (b.state IN ('published', 'unchanged')
                   OR b.state = 'staged' AND b.run_id = a.run_id))))
    ORDER BY a.attempt
"""


def clear_leftovers(conn: psycopg.Connection[Any], keep: timedelta = KEEP_STAGED) -> list[int]:
    """Drop the stage tables of dead attempts of this use case; the attempts' numbers.

    A table that somebody is reading is left for the next time.
    """
    candidates = conn.execute(_CANDIDATES, (keep,)).fetchall()
    return [number for number, table, state in candidates if _abandoned(conn, number, table, state)]


def _abandoned(conn: psycopg.Connection[Any], number: int, table: str, state: str) -> bool:
    try:
        with conn.transaction():
            if state == "staging":
                free = conn.execute(
                    f"SELECT pg_try_advisory_xact_lock({ATTEMPT_LOCK})", (number,)
                ).fetchone()
                if free != (True,):
                    return False
            # A publish of this very attempt holds its row: then it is not dead, or not for us.
            locked = conn.execute(
                "SELECT 1 FROM batch_attempts WHERE attempt = %s AND state = %s"
                " FOR UPDATE SKIP LOCKED",
                (number, state),
            ).fetchone()
            if locked is None:
                return False
            conn.execute("SET LOCAL lock_timeout = '500ms'")
            conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
            conn.execute(
                "UPDATE batch_attempts SET state = 'abandoned', stage_table = NULL,"
                " finished_at = coalesce(finished_at, now()) WHERE attempt = %s",
                (number,),
            )
            return True
    except pg.LockNotAvailable:
        return False
