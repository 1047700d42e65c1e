"""What batch said of a day, and what the stream said of the same events.

Scores and margins are compared by their bits: -0.0 is not 0.0, a NaN equals the same NaN, and
no tolerance hides anything. Postgres counts; no row leaves it but a few examples.

Where an event came in copies that do not say the same, batch and stream may have scored different
ones. Such a difference is no drift: it is counted by itself, with both (docs/adr/0015). Where the
stream scored the very copy that batch scored, other copies explain nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from lockstep.errors import UsageError
from lockstep.warehouse.connect import answering

__all__ = ["EXAMPLES", "Comparison", "Difference", "compare_day"]

EXAMPLES = 5


@dataclass(frozen=True)
class Difference:
    """An event that both scored, and not alike."""

    event_id: str
    event_time: datetime
    batch_score: float
    stream_score: float
    batch_margin: float | None
    stream_margin: float | None
    batch_digest: str
    stream_digest: str
    stream_place: list[int]
    """[partition, offset] of the copy that the stream scored."""
    conflicting: bool
    """Whether batch scored another copy, which does not say the same."""
    copies: list[list[int] | None] | None
    """Where the event's copies lie, batch's own first, if they contradict."""
    fields: list[str] | None
    """What these copies differ in."""


@dataclass(frozen=True)
class Comparison:
    """Counts of one day's current publish beside one topic's stream."""

    day: date
    topic: str
    publish_id: str
    rows_batch: int
    rows_stream: int
    rows_both: int
    differ: int
    """Rows in both whose score or margin differs in any bit, and nothing explains it."""
    conflicting: int
    """Rows in both that differ, and of whose contradicting copies batch scored another one."""
    other_model: int
    """Rows in both that were scored by different digests."""
    digest: str
    """Of the batch rows."""
    examples: tuple[Difference, ...] = ()

    @property
    def only_batch(self) -> int:
        return self.rows_batch - self.rows_both

    @property
    def only_stream(self) -> int:
        return self.rows_stream - self.rows_both

    @property
    def same(self) -> bool:
        """Both scored exactly the same events, at least one, with the same bits: of events that
        came in copies which contradict nobody can ask that."""
        return (
            self.rows_both > 0
            and self.differ == 0
            and self.rows_batch == self.rows_stream == self.rows_both
        )


_SIDES = """
    WITH b AS MATERIALIZED (
        SELECT event_id, event_time, score, margin, model_digest, publish_id FROM predictions
        WHERE event_date = %(day)s AND source = 'batch'
    ), s AS MATERIALIZED (
        SELECT event_id, event_time, score, margin, model_digest, kafka_partition, kafka_offset
        FROM predictions
        WHERE event_date = %(day)s AND source = 'stream' AND topic = %(topic)s
    ), c AS MATERIALIZED (
        SELECT event_id, event_time, copies, fields FROM conflicting_copies
        WHERE event_date = %(day)s
    )
"""
_BITS_DIFFER = """
    (float4send(b.score) IS DISTINCT FROM float4send(s.score)
     OR float4send(b.margin) IS DISTINCT FROM float4send(s.margin))
"""
_OTHER_COPY = """
    (c.event_id IS NOT NULL
     AND c.copies -> 0 IS DISTINCT FROM jsonb_build_array(s.kafka_partition, s.kafka_offset))
"""
_COUNTS = f"""{_SIDES}
    SELECT count(b.event_id), count(s.event_id), count(*) FILTER (WHERE joined.both),
           count(*) FILTER (WHERE joined.both AND {_BITS_DIFFER} AND NOT {_OTHER_COPY}),
           count(*) FILTER (WHERE joined.both AND {_BITS_DIFFER} AND {_OTHER_COPY}),
           count(*) FILTER (WHERE joined.both AND b.model_digest <> s.model_digest),
           min(b.model_digest), min(b.publish_id)
    FROM b FULL JOIN s ON b.event_id = s.event_id AND b.event_time = s.event_time
    LEFT JOIN c ON c.event_id = b.event_id AND c.event_time = b.event_time
    CROSS JOIN LATERAL (SELECT b.event_id IS NOT NULL AND s.event_id IS NOT NULL AS both) joined
"""
_DIFFERENCES = f"""{_SIDES}
    SELECT b.event_id, b.event_time, b.score AS batch_score, s.score AS stream_score,
           b.margin AS batch_margin, s.margin AS stream_margin,
           b.model_digest AS batch_digest, s.model_digest AS stream_digest,
           ARRAY[s.kafka_partition, s.kafka_offset] AS stream_place,
           {_OTHER_COPY} AS conflicting, c.copies, c.fields
    FROM b JOIN s ON b.event_id = s.event_id AND b.event_time = s.event_time
    LEFT JOIN c ON c.event_id = b.event_id AND c.event_time = b.event_time
    WHERE {_BITS_DIFFER} AND {_OTHER_COPY} = %(conflicting)s
    ORDER BY b.event_time, b.event_id LIMIT {EXAMPLES}
"""
_NEWEST_TOPIC = """
    SELECT topic FROM predictions WHERE event_date = %s AND source = 'stream'
    GROUP BY topic ORDER BY max(available_at) DESC, topic DESC LIMIT 1
"""


def compare_day(conn: psycopg.Connection[Any], day: date, topic: str | None = None) -> Comparison:
    """Count the day in both places. `topic`: the stream to take; None: the last one that scored.

    Any role that reads the views will do. Raises UsageError when one side has no row at all:
    then there is nothing to compare, which is not the same as no difference.
    """
    with answering(conn), conn.transaction():
        # Counts and examples of one moment, whatever is published meanwhile.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        use_case = str((conn.execute("SELECT current_schema()").fetchone() or ("USE_CASE",))[0])
        if topic is None:
            newest = conn.execute(_NEWEST_TOPIC, (day,)).fetchone()
            topic = newest[0] if newest else ""
        sides = {"day": day, "topic": topic}
        row = conn.execute(_COUNTS, sides).fetchone()
        assert row is not None  # noqa: S101 - counts without GROUP BY are one row
        batch, stream, both, differ, conflicting, other_model, digest, publish_id = row
        if not batch:
            raise UsageError(
                f"nothing to compare: no batch predictions of {use_case} at {day} are published",
                next=f"lockstep score {use_case} --partition {day}",
            )
        if not stream:
            of_topic = f" from topic {topic}" if topic else ""
            raise UsageError(
                f"nothing to compare: the stream of {use_case} scored no event of {day}{of_topic}",
                next=f"lockstep replay {use_case} --from {day} (with lockstep stream running)",
            )
        examples: list[Difference] = []
        with conn.cursor(row_factory=class_row(Difference)) as cursor:
            for found, conflict in ((differ, False), (conflicting, True)):
                if found:
                    examples += cursor.execute(_DIFFERENCES, {**sides, "conflicting": conflict})
    return Comparison(
        day=day,
        topic=topic,
        publish_id=publish_id,
        rows_batch=batch,
        rows_stream=stream,
        rows_both=both,
        differ=differ,
        conflicting=conflicting,
        other_model=other_model,
        digest=digest,
        examples=tuple(examples),
    )
