"""Audits in the warehouse: what of a day there is to audit, and what came out. Append-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from lockstep.warehouse.connect import answering

__all__ = ["AuditedDay", "AuditedWindow", "record", "stream_rows"]


@dataclass(frozen=True)
class AuditedWindow:
    """One window of one model over the rows of a day. equal + incomplete + unexplained = rows."""

    digest: str
    window: str
    rows: int
    equal: int
    incomplete: int
    unexplained: int
    late_changed: int
    """Rows whose value late events would have changed."""
    largest_difference: float | None
    """Between a stored and a recomputed value that are not equal; None where there is none."""
    examples: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class AuditedDay:
    """One audit: each row counts once, as its worst window does."""

    run_id: str
    day: date
    topic: str
    rows: int
    equal: int
    incomplete: int
    unexplained: int
    missing: int
    """Of the unexplained, rows whose event is not in the lake."""
    conflicting: int
    """Rows whose event the lake has in copies that do not say the same."""
    late_events: int
    late_changed: int
    examples: Sequence[dict[str, Any]] = ()
    windows: Sequence[AuditedWindow] = field(default_factory=list)


def stream_rows(conn: psycopg.Connection[Any], day: date) -> dict[str, int]:
    """Topic -> how many predictions the stream stored of that day's events."""
    with answering(conn):
        found = conn.execute(
            "SELECT t.topic, count(*) FROM predictions_stream p JOIN streams t USING (stream_id)"
            " WHERE p.event_date = %s GROUP BY t.topic ORDER BY t.topic",
            (day,),
        ).fetchall()
    return dict(found)


def record(conn: psycopg.Connection[Any], audit: AuditedDay) -> int:
    """Append an audit; its number. The newest of a day and topic is what analysts see."""
    with answering(conn), conn.transaction(), conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audits (run_id, event_date, topic, rows, equal, incomplete, unexplained,"
            " missing, conflicting, late_events, late_changed, examples)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING audit_id",
            (
                audit.run_id,
                audit.day,
                audit.topic,
                audit.rows,
                audit.equal,
                audit.incomplete,
                audit.unexplained,
                audit.missing,
                audit.conflicting,
                audit.late_events,
                audit.late_changed,
                Jsonb(list(audit.examples)),
            ),
        )
        row = cursor.fetchone()
        assert row is not None  # noqa: S101 - the statement returns one row
        number = int(row[0])
        cursor.executemany(
            "INSERT INTO audit_windows (audit_id, digest, window_name, rows, equal, incomplete,"
            " unexplained, late_changed, largest_difference, examples)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    number,
                    found.digest,
                    found.window,
                    found.rows,
                    found.equal,
                    found.incomplete,
                    found.unexplained,
                    found.late_changed,
                    found.largest_difference,
                    Jsonb(list(found.examples)),
                )
                for found in audit.windows
            ],
        )
    return number
