"""What others than the owner have put into a use case's schema, and what of it would act.

The scorer of the first releases could create things there, and owned what it wrote. The owner
takes its tables over; what hangs on them, a default or a check or a rule, would then run with the
owner's rights. So the tables are locked against the scorer first, then searched, and then taken
over, all in one transaction: nothing can be added in between.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

from lockstep.errors import Transient, UsageError
from lockstep.warehouse.connect import group

__all__ = ["lock_theirs", "outlast_writers", "refuse_strangers"]

_SHARE = 0.9
"""How much of the lock table a migration may take: others are at work, too."""

_WRITERS = """
    SELECT l.transactionid::text, l.pid, a.usename::text
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND a.datname = pg_catalog.current_database() AND NOT r.rolsuper
      AND pg_catalog.pg_has_role(r.oid, %(scorer)s, 'MEMBER')
      AND NOT pg_catalog.pg_has_role(r.oid, %(owner)s, 'MEMBER')
"""
"""Transactions that have written, of logins that can be the scorer."""

_THEIRS = """
    SELECT c.oid, c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relowner = %(scorer)s::regrole AND c.relkind IN ('r', 'p')
    ORDER BY c.relkind DESC, c.oid
"""
"""The scorer's tables, parents before their partitions."""

_LOCKS = """
    WITH tables AS (
        SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY (%(tables)s)
        UNION ALL
        SELECT c.reltoastrelid FROM pg_catalog.pg_class c
        WHERE c.oid = ANY (%(tables)s) AND c.reltoastrelid <> 0
    ), capacity AS (
        SELECT pg_catalog.sum(s.setting::bigint) AS sessions FROM pg_catalog.pg_settings s
        WHERE s.name IN ('max_connections', 'max_prepared_transactions', 'max_wal_senders',
            'max_worker_processes', 'autovacuum_worker_slots')
    )
    SELECT (SELECT pg_catalog.count(*) FROM tables)
         + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index i
            WHERE i.indrelid IN (TABLE tables)) AS needed,
        pg_catalog.current_setting('max_locks_per_transaction')::bigint AS each,
        sessions FROM capacity
"""
"""How many locks it takes to change the owner of tables, and what the server has room for."""

_STRANGERS = r"""
    WITH here AS (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = %(schema)s),
    trusted AS (
        SELECT r.oid FROM pg_catalog.pg_roles r
        WHERE r.rolsuper OR pg_catalog.pg_has_role(r.oid, %(owner)s, 'MEMBER')
    ),
    theirs AS (
        SELECT c.* FROM pg_catalog.pg_class c
        WHERE c.relnamespace IN (TABLE here) AND c.relowner NOT IN (TABLE trusted)
    )
    SELECT 'function', p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
    WHERE p.pronamespace IN (TABLE here) AND p.proowner NOT IN (TABLE trusted)
    UNION ALL
    SELECT 'operator', o.oid::pg_catalog.regoperator::text FROM pg_catalog.pg_operator o
    WHERE o.oprnamespace IN (TABLE here) AND o.oprowner NOT IN (TABLE trusted)
    UNION ALL
    SELECT 'type', t.oid::pg_catalog.regtype::text FROM pg_catalog.pg_type t
    WHERE t.typnamespace IN (TABLE here) AND t.typowner NOT IN (TABLE trusted)
      AND t.typtype IN ('d', 'e', 'r')
    UNION ALL
    SELECT 'relation', c.oid::pg_catalog.regclass::text FROM theirs c
    WHERE c.relkind IN ('v', 'm', 'f', 'c')
       OR c.relkind IN ('r', 'p', 'S') AND c.relowner <> %(scorer)s::regrole
    UNION ALL
    SELECT 'trigger', t.tgname || ' on ' || c.relname FROM pg_catalog.pg_trigger t
    JOIN theirs c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'rule', r.rulename || ' on ' || c.relname FROM pg_catalog.pg_rewrite r
    JOIN theirs c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
    UNION ALL
    SELECT 'policy', p.polname || ' on ' || c.relname FROM pg_catalog.pg_policy p
    JOIN theirs c ON c.oid = p.polrelid
    UNION ALL
    SELECT 'row security', 'on ' || c.relname FROM theirs c
    WHERE c.relrowsecurity OR c.relforcerowsecurity
    UNION ALL
    SELECT CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated column' END,
        a.attname || ' of ' || c.relname
    FROM pg_catalog.pg_attrdef d JOIN theirs c ON c.oid = d.adrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE a.attgenerated <> ''
       OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) NOT IN ('now()', '0', 'false')
    UNION ALL
    SELECT 'column', a.attname || ' of ' || c.relname FROM pg_catalog.pg_attribute a
    JOIN theirs c ON c.oid = a.attrelid JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
      AND t.typnamespace <> 'pg_catalog'::regnamespace
    UNION ALL
    SELECT 'constraint', k.conname || ' on ' || k.conrelid::pg_catalog.regclass::text
    FROM pg_catalog.pg_constraint k JOIN theirs c ON c.oid IN (k.conrelid, k.confrelid)
    WHERE k.contype IN ('c', 'f', 'x') AND pg_catalog.pg_get_constraintdef(k.oid) !~ %(checks)s
    UNION ALL
    SELECT 'index', i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i
    JOIN theirs c ON c.oid = i.indrelid WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT 'statistics', s.stxname || ' on ' || c.relname FROM pg_catalog.pg_statistic_ext s
    JOIN theirs c ON c.oid = s.stxrelid WHERE s.stxexprs IS NOT NULL
    UNION ALL
    SELECT 'partition key', 'of ' || c.relname FROM pg_catalog.pg_partitioned_table p
    JOIN theirs c ON c.oid = p.partrelid WHERE p.partexprs IS NOT NULL
    UNION ALL
    SELECT 'child', i.inhrelid::pg_catalog.regclass::text || ' of ' || p.relname
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    WHERE (p.oid IN (SELECT oid FROM theirs) OR c.oid IN (SELECT oid FROM theirs))
      AND p.relkind <> 'I' AND (p.relkind <> 'p' OR p.relnamespace <> c.relnamespace)
    ORDER BY 1, 2
"""
"""What others than the owner and superusers have put into a schema, beside plain tables.

Expressions are compared as Postgres writes them with nothing but pg_catalog in its search path:
whatever lies elsewhere comes with its schema's name. A list of what is bad could not be whole:
functions of pg_catalog, too, run any statement that they are handed.
"""

_CHECKS = "|".join(
    f"^{check}$"
    for check in (
        # Of a stage: of its day and its publish.
        r"CHECK \(\(\(event_date >= '[0-9]{4}-[0-9]{2}-[0-9]{2}'::date\)"
        r" AND \(event_date < \('[0-9]{4}-[0-9]{2}-[0-9]{2}'::date \+ 1\)\)\)\)",
        r"CHECK \(\(publish_id = '[0-9a-f]+'::text\)\)",
        # Of batch_attempts.
        r"CHECK \(\(state = ANY \(ARRAY\['staging'::text, 'staged'::text, 'published'::text,"
        r" 'unchanged'::text, 'abandoned'::text\]\)\)\)",
    )
)
"""The checks of the releases that made the scorer an owner."""


def outlast_writers(conn: psycopg.Connection[Any], use_case: str, patience: float) -> None:
    """Wait until what the scorer's logins are writing now is committed or gone.

    What such a transaction has created in the schema, while it still could, cannot be seen yet.
    Raises Transient after `patience` seconds, naming the sessions.
    """
    given = _names(use_case)
    if not conn.execute(_THEIRS, given).fetchall():
        return
    deadline = time.monotonic() + patience
    awaited = set(conn.execute(_WRITERS, given).fetchall())
    while awaited := awaited & set(conn.execute(_WRITERS, given).fetchall()):
        if time.monotonic() > deadline:
            _, pid, user = min(awaited)
            raise Transient(
                f"the migration of {use_case} waited {patience:g} s for a transaction that may"
                f" have created something there: server process {pid}, user {user}",
                left="the schema as it was",
                next="stop the workers and jobs of the older release, then"
                f" lockstep migrate {use_case}",
            )
        time.sleep(0.1)


def lock_theirs(conn: psycopg.Connection[Any], use_case: str) -> None:
    """Lock the tables that the scorer owns against everybody, until the transaction ends.

    Raises UsageError when the server has no room for so many locks, and psycopg's LockNotAvailable
    when somebody uses one of them for longer than `lock_timeout`.
    """
    locked: set[int] = set()
    while wanted := [
        (oid, name)
        for oid, name in conn.execute(_THEIRS, _names(use_case)).fetchall()
        if oid not in locked
    ]:
        locked.update(oid for oid, _ in wanted)
        _require_room(conn, use_case, sorted(locked))
        for _, name in wanted:
            conn.execute(
                sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(
                    sql.Identifier(use_case, name)
                )
            )


def _require_room(conn: psycopg.Connection[Any], use_case: str, tables: list[int]) -> None:
    found = conn.execute(_LOCKS, {"tables": tables}).fetchone()
    assert found is not None  # noqa: S101 - the statement returns one row
    needed, each, sessions = found
    if needed > _SHARE * each * int(sessions):
        enough = int(needed / (_SHARE * int(sessions))) + 1
        raise UsageError(
            f"migrating {use_case} locks {needed} tables and indexes at once, and this server has"
            f" room for {each * int(sessions)} locks (max_locks_per_transaction = {each})",
            left="the schema as it was",
            next=f"set max_locks_per_transaction = {enough}, restart Postgres, then lockstep"
            f" migrate {use_case}; afterwards the setting may go back",
        )


def refuse_strangers(conn: psycopg.Connection[Any], use_case: str) -> None:
    """Raises UsageError when the schema holds what would act on whoever uses it, by another hand.

    Tables are taken over; a function, an operator or a type may be called in place of a built-in,
    a rule, a trigger, a default or a check by whoever writes.
    """
    # Expressions are written out as this says.
    before = conn.execute("SELECT pg_catalog.current_setting('search_path')").fetchone()
    conn.execute("SET LOCAL search_path = pg_catalog, pg_temp")
    found = conn.execute(_STRANGERS, {**_names(use_case), "checks": _CHECKS}).fetchall()
    conn.execute("SELECT pg_catalog.set_config('search_path', %s, true)", before)
    if found:
        shown = ", ".join(f"{kind} {name}" for kind, name in found[:10])
        raise UsageError(
            f"the schema {use_case} holds what no migration made: {shown}"
            + (f" and {len(found) - 10} more" if len(found) > 10 else ""),
            left="the schema as it was; from now on nobody but its owner can create anything there",
            next="look at each of them, and at what was approved and published since; drop them,"
            f" then lockstep migrate {use_case}",
        )


def _names(use_case: str) -> dict[str, str]:
    return {
        "schema": use_case,
        "owner": group(use_case, "owner"),
        "scorer": group(use_case, "scorer"),
    }
