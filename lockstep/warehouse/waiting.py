"""Who holds what somebody waited for in vain.

No role can take the locks that another role's work needs: those lie on tables of the owner. What
is left is bounded, and ends with the name of the session that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

__all__ = ["MIGRATION_LOCK", "holders"]

MIGRATION_LOCK = (0x4C6F636B, 0x73746570)
"""One migration at a time in a database: before the first there is no table to lock."""

# Reading holds up a migration, and a stage's renaming or dropping, and nothing else. Since when a
# transaction runs is told only to those who may know (pg_read_all_stats).
_HOLDERS = """
    SELECT DISTINCT l.pid, a.usename, a.application_name,
           pg_catalog.to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid()
      AND a.datname = pg_catalog.current_database()
      AND (n.nspname = %(schema)s AND (%(tables)s::text[] IS NULL
               OR c.relname = ANY (%(tables)s)
               AND (l.mode <> 'AccessShareLock' OR c.relname LIKE 'stage%%'))
           OR l.locktype = 'advisory' AND %(tables)s::text[] IS NULL
           AND l.classid = %(first)s AND l.objid = %(second)s AND l.objsubid = 2)
    ORDER BY 4 NULLS LAST, 1
    LIMIT 3
"""


def holders(
    connection: psycopg.Connection[Any], schema: str, tables: Sequence[str] | None = None
) -> dict[int, str]:
    """The sessions that hold locks on these tables of a use case: server process -> in words.

    Without `tables`: whatever can hold up a migration, readers included.
    """
    first, second = MIGRATION_LOCK
    given = {
        "schema": schema,
        "tables": list(tables) if tables is not None else None,
        "first": first,
        "second": second,
    }
    try:
        found = connection.execute(_HOLDERS, given).fetchall()
    except psycopg.Error:  # it is the lock's error that the user should read
        return {}
    return {
        pid: f"server process {pid}, user {user}, application {application or '(unnamed)'!r},"
        + (f" in a transaction since {since}" if since else " for all the time that we waited")
        for pid, user, application, since in found
    }
