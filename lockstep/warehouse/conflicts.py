"""Events whose copies contradict, as the check of a publish's input found them. Append-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from lockstep.warehouse.connect import answering

__all__ = ["ConflictingCopies", "record"]


@dataclass(frozen=True)
class ConflictingCopies:
    """An event that came in several copies which do not say the same."""

    event_id: str
    event_time: datetime
    copies: Sequence[Sequence[int] | None]
    """[partition, offset] of each different one, the one that batch scores first; None: loaded."""
    fields: Sequence[str]
    """What they differ in."""


def record(
    conn: psycopg.Connection[Any],
    day: date,
    publish_id: str,
    conflicts: Sequence[ConflictingCopies],
) -> None:
    """Note them, once: the same input has the same ones whenever it is checked."""
    if not conflicts:
        return
    with answering(conn), conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO publish_conflicts (event_date, publish_id, event_id, event_time, copies,"
            " fields) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (day, publish_id, c.event_id, c.event_time, Jsonb(list(c.copies)), list(c.fields))
                for c in conflicts
            ],
        )
