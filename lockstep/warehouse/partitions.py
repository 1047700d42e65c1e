"""A day's partitions, made without making a reader wait.

`CREATE TABLE … PARTITION OF` takes an exclusive lock on the parent: it waits for every open
query and every later query waits for it. A table that is made alone and then attached takes a
lock that readers and writers do not notice.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import sql

__all__ = [
    "batch_day_table",
    "ensure_batch_day",
    "ensure_stream_day",
    "is_attached",
    "publish_table",
    "stream_day_table",
]


def stream_day_table(day: date) -> str:
    """The partition of predictions_stream that holds `day`."""
    return f"predictions_stream_{day:%Y%m%d}"


def batch_day_table(day: date) -> str:
    """The partition of predictions_batch that holds `day`; publishes are partitions of it."""
    return f"predictions_batch_{day:%Y%m%d}"


def publish_table(day: date, publish_id: str) -> str:
    """The partition of a day's partition that holds one publish."""
    return f"{batch_day_table(day)}_{publish_id[:24]}"


def ensure_stream_day(conn: psycopg.Connection[Any], day: date) -> bool:
    """Make the partition of predictions_stream for one UTC day. True if it was not there.

    Runs in a transaction of its own: `conn` must not be inside one. Safe to call from several
    workers at once, and cheap when the partition exists.
    """
    return _ensure(conn, "predictions_stream", stream_day_table(day), day, "")


def ensure_batch_day(conn: psycopg.Connection[Any], day: date) -> bool:
    """Make the partition of predictions_batch for one UTC day, itself partitioned by publish."""
    return _ensure(
        conn, "predictions_batch", batch_day_table(day), day, "PARTITION BY LIST (publish_id)"
    )


def _ensure(conn: psycopg.Connection[Any], parent: str, name: str, day: date, below: str) -> bool:
    with conn.transaction():
        if is_attached(conn, parent, name):
            return False
        # Two that find it missing: the second waits here, then finds it.
        conn.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended("
            "'lockstep partition ' || current_schema() || ' ' || %s, 0))",
            (name,),
        )
        if is_attached(conn, parent, name):
            return False
        values = {
            "parent": sql.Identifier(parent),
            "name": sql.Identifier(name),
            "below": sql.SQL(below),
            "first": sql.Literal(day.isoformat()),
            "after": sql.Literal((day + timedelta(days=1)).isoformat()),
        }
        # No check constraint is needed to attach it at once: it is empty.
        for statement in (
            "CREATE TABLE {name} (LIKE {parent} INCLUDING ALL) {below}",
            "ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({after})",
        ):
            conn.execute(sql.SQL(statement).format(**values))
        return True


def is_attached(conn: psycopg.Connection[Any], parent: str, name: str) -> bool:
    """Whether the table `name` exists and is a partition of the table `parent`."""
    # Through the catalog's rows, which follow the statement's snapshot. to_regclass answers from
    # a cache that waiting for an advisory lock does not refresh.
    found = conn.execute(
        "SELECT 1 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " JOIN pg_class p ON p.oid = i.inhparent"
        " WHERE c.relname = %s AND p.relname = %s AND NOT i.inhdetachpending"
        " AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
        " AND p.relnamespace = c.relnamespace",
        (name, parent),
    ).fetchone()
    return found is not None
