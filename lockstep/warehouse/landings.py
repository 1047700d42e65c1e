"""What landing runs brought into the lake: appended after the files are in place.

`record` is one transaction, and doing it again for the same run changes nothing, so a landing
that was killed between its files and this can simply be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from lockstep.warehouse.connect import answering

__all__ = [
    "ChangedDay",
    "Landed",
    "LandedSoFar",
    "Rejected",
    "changed_days",
    "landed_so_far",
    "newest_landing",
    "record",
]


@dataclass(frozen=True)
class Landed:
    """Records of one topic that went into one day of a lake table."""

    topic: str
    source: str
    """The lake table."""
    day: date
    rows: int
    late: int = 0
    """Of these, records that became readable after their day had ended."""
    offsets: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Kafka partition -> first and last offset of these records."""
    fresh: int = field(kw_only=True)
    """Events that the lake did not have: copies are none."""
    fresh_late: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Rejected:
    """Records of one topic that were left out for one reason."""

    topic: str
    source: str
    reason: str
    rows: int
    example: str | None = None
    """Where one of them is (partition and offset), and what was wrong with it. Never its bytes."""


@dataclass(frozen=True)
class ChangedDay:
    """A published day of which new events landed since; `rows` and `late` count those."""

    source: str
    event_date: date
    rows: int
    late: int
    landed_at: datetime
    publish_id: str
    published_at: datetime


@dataclass(frozen=True)
class LandedSoFar:
    """How far a topic is in the lake, as landings tell it."""

    topic: str
    day: date
    rows: int
    """Of that day."""
    last: datetime | None
    """When the last of them landed."""
    newest_day: date | None
    """The newest day of which anything has landed."""

    def __str__(self) -> str:
        if self.last is not None:
            at = self.last.astimezone(UTC)
            return (
                f"{self.topic}: {self.rows:,} rows of {self.day} have landed,"
                f" the last at {at:%Y-%m-%d %H:%M} UTC"
            )
        until = f"the newest day is {self.newest_day}" if self.newest_day else "nor of another day"
        return f"{self.topic}: nothing of {self.day} has landed ({until})"


def record(
    conn: psycopg.Connection[Any],
    run_id: str,
    landed: Sequence[Landed] = (),
    rejects: Sequence[Rejected] = (),
) -> None:
    """Note a landing run, once: what is known of this run already stays as it is."""
    with answering(conn), conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO landings"
            " (run_id, topic, source, event_date, rows, late, offsets, fresh, fresh_late)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (run_id, topic, source, event_date) DO NOTHING",
            [
                (run_id, part.topic, part.source, part.day, part.rows, part.late,
                 Jsonb({str(number): list(span) for number, span in part.offsets.items()}),
                 part.fresh, part.fresh_late)
                for part in landed
            ],
        )  # fmt: skip
        cursor.executemany(
            "INSERT INTO landing_rejects (run_id, topic, source, reason, rows, example)"
            " VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (run_id, topic, source, reason) DO NOTHING",
            [(run_id, r.topic, r.source, r.reason, r.rows, r.example) for r in rejects],
        )


def landed_so_far(
    conn: psycopg.Connection[Any], day: date, topics: Sequence[str]
) -> list[LandedSoFar]:
    """For each topic, in that order, what landings brought of a day."""
    with answering(conn), conn.cursor(row_factory=class_row(LandedSoFar)) as cursor:
        return cursor.execute(
            "SELECT t.topic, %s::date AS day, coalesce(sum(l.rows) FILTER (WHERE l.event_date ="
            " %s), 0)::bigint AS rows, max(l.landed_at) FILTER (WHERE l.event_date = %s) AS last,"
            " max(l.event_date) AS newest_day"
            " FROM unnest(%s::text[]) WITH ORDINALITY t(topic, place)"
            " LEFT JOIN landings l ON l.topic = t.topic AND l.rows > 0"
            " GROUP BY t.topic, t.place ORDER BY t.place",
            (day, day, day, list(topics)),
        ).fetchall()


def newest_landing(conn: psycopg.Connection[Any], source: str, day: date) -> datetime | None:
    """When records last landed in a day of a lake table; None if none ever did."""
    with answering(conn):
        row = conn.execute(
            "SELECT max(landed_at) FROM landings WHERE source = %s AND event_date = %s",
            (source, day),
        ).fetchone()
    return row[0] if row else None


def changed_days(conn: psycopg.Connection[Any]) -> list[ChangedDay]:
    """Published days of which new events landed since, oldest first."""
    with answering(conn), conn.cursor(row_factory=class_row(ChangedDay)) as cursor:
        return cursor.execute(
            "SELECT source, event_date, rows, late, landed_at, publish_id, published_at"
            " FROM changed_days ORDER BY event_date, source"
        ).fetchall()
