"""The stream's ledger: which offsets are scored, by whom, and what was answered.

The warehouse's offset is the truth; Kafka's group offset is only advice. One transaction
inserts a micro-batch and advances its offsets, and it commits only while this worker's epoch
is the newest for every partition in it. A worker that lost a partition cannot write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from lockstep.errors import Fenced, OffsetsLost, UsageError
from lockstep.warehouse import arrays
from lockstep.warehouse.connect import answering
from lockstep.warehouse.micro_batch import Answer, Claim, MicroBatch, Span

__all__ = ["Ledger", "answered", "require_within"]

_DAY_US = 86_400_000_000


def answered(
    connection: psycopg.Connection[Any], topic: str, first: date, last: date
) -> set[tuple[str, int]]:
    """(id, microseconds) of the events of these days that the stream of a topic has scored."""
    with answering(connection):
        found = connection.execute(
            "select p.event_id, (extract(epoch from p.event_time) * 1000000)::bigint"
            " from predictions_stream p join streams t using (stream_id)"
            " where t.topic = %s and p.event_date between %s and %s",
            (topic, first, last),
        )
        return set(found)


class Ledger:
    """One topic's ledger over one connection; commits or rolls back every call.

    Database errors pass through as psycopg errors: whether to reconnect is the caller's call.
    """

    def __init__(self, connection: psycopg.Connection[Any], topic: str) -> None:
        arrays.register(connection)
        self._connection = connection
        self._cursor = connection.cursor(binary=True)
        self._topic = topic
        self._stream_id = -1

    def open(self, topic_uuid: str, *, accept_loss: bool = False) -> None:
        """Find or register the stream.

        Raises OffsetsLost when the topic was recreated, UsageError for one topic too many.
        """
        with self._connection.transaction():
            found = self._registered()
            if found is None:
                # Only now: a conflict would use up a number as well, and there are few.
                try:
                    self._cursor.execute(
                        "insert into streams (topic, topic_uuid) values (%s, %s)"
                        " on conflict (topic) do nothing",
                        (self._topic, topic_uuid),
                    )
                except psycopg.errors.SequenceGeneratorLimitExceeded:
                    raise UsageError(
                        f"no number is left for the topic {self._topic}: this use case has had"
                        " 32,767 of them",
                        left="nothing; topics that are known go on",
                        next="read it under a use case of its own",
                    ) from None
                found = self._registered()
            assert found is not None  # noqa: S101 - inserted, by this worker or another
            self._stream_id, known = found
            if known == topic_uuid:
                return
            if not accept_loss:
                raise OffsetsLost(
                    f"topic {self._topic} was recreated: its id is {topic_uuid},"
                    f" the warehouse's offsets belong to {known}",
                    left="rows and offsets as they were; no event was read",
                    next="lockstep stream USE_CASE --accept-loss"
                    " (forgets the old offsets, starts at the new log's beginning)",
                )
            # The epochs stay: a former owner must not find its own again.
            self._cursor.execute(
                "update stream_offsets set next_offset = 0, produced_offset = 0"
                " where stream_id = %s",
                (self._stream_id,),
            )
            self._cursor.execute(
                "update streams set topic_uuid = %s where stream_id = %s",
                (topic_uuid, self._stream_id),
            )

    def fence(self, partition: int) -> None:
        """Keep a partition's owner, if it has one, from writing more. `claim` comes next."""
        with self._connection.transaction():
            self._cursor.execute(
                "update stream_offsets set epoch = epoch + 1"
                " where stream_id = %s and kafka_partition = %s",
                (self._stream_id, partition),
            )

    def claim(self, partition: int, low: int, high: int, *, accept_loss: bool = False) -> Claim:
        """Take a partition over: its former owner can write no more.

        `low` and `high` are the log's first offset and the one after its last.
        Raises OffsetsLost when the log does not reach back to where the ledger stopped.
        """
        with self._connection.transaction():
            self._cursor.execute(
                "insert into stream_offsets as o"
                " (stream_id, kafka_partition, next_offset, epoch, produced_offset)"
                " values (%s, %s, %s, 1, %s)"
                " on conflict (stream_id, kafka_partition) do update set epoch = o.epoch + 1"
                " returning next_offset, epoch, produced_offset",
                (self._stream_id, partition, low, low),
            )
            next_offset, epoch, produced = self._one()
            try:
                require_within(self._topic, partition, next_offset, low, high)
                return Claim(partition, next_offset, epoch, produced)
            except OffsetsLost:
                if not accept_loss:
                    raise
            self._cursor.execute(
                "update stream_offsets set next_offset = %s, produced_offset = %s"
                " where stream_id = %s and kafka_partition = %s",
                (low, low, self._stream_id, partition),
            )
            return Claim(partition, low, epoch, low)

    def unanswered(self, claim: Claim) -> list[Answer]:
        """Stored rows whose scored events may not have reached Kafka, in order of offset."""
        if claim.produced_offset >= claim.next_offset:
            return []
        with self._connection.transaction():
            self._cursor.execute(
                _ANSWERS + " where p.stream_id = %s and p.kafka_partition = %s"
                " and p.kafka_offset >= %s and p.kafka_offset < %s order by p.kafka_offset",
                (self._stream_id, claim.partition, claim.produced_offset, claim.next_offset),
            )
            return [Answer(*row) for row in self._cursor.fetchall()]

    def write(self, batch: MicroBatch, *, trial: bool = False) -> int:
        """Insert the rows and advance the offsets, or nothing; a trial leaves nothing at all.

        Returns how many rows had been stored before (copies of an event): those keep their
        stored score. Raises Fenced when another worker owns one of the partitions.
        """
        cursor, rows = self._cursor, len(batch.ids)
        with self._connection.transaction(force_rollback=trial):
            spans = batch.spans
            cursor.execute(
                "update stream_offsets o set next_offset = v.next,"
                " produced_offset = greatest(o.produced_offset, v.produced)"
                " from unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
                " v(part, first, next, epoch, produced)"
                " where o.stream_id = %s and o.kafka_partition = v.part"
                " and o.next_offset = v.first and o.epoch = v.epoch",
                (
                    [s.partition for s in spans],
                    [s.first for s in spans],
                    [s.next for s in spans],
                    [s.epoch for s in spans],
                    [batch.produced.get(s.partition, 0) for s in spans],
                    self._stream_id,
                ),
            )
            if cursor.rowcount != len(spans):
                raise Fenced(
                    f"another worker owns a partition of {self._topic}: of {len(spans)} offsets"
                    f" only {cursor.rowcount} are still at"
                    f" {[(s.partition, s.first) for s in spans]}",
                    left="nothing of this micro-batch; its events are the new owner's",
                    next="start the worker again, and look for a second consumer group",
                )
            if batch.cut is not None:
                self._write_cut(batch, batch.cut)
            if not rows:
                return 0
            windowed = batch.windows is not None and batch.windows.shape[1] > 0
            cursor.execute(
                _INSERT_WINDOWED if windowed else _INSERT,
                (
                    self._stream_id,
                    batch.approval,
                    *(_flat(batch.windows, rows) if windowed else ()),
                    *self._keys(batch),
                    arrays.pack_text(batch.entity, empty_is_null=True),
                    arrays.pack("float4", batch.score),
                    arrays.pack("float4", batch.margin),
                    arrays.pack("int4", batch.partitions),
                    arrays.pack("int8", batch.offsets),
                    *((arrays.pack("bool", _flags(batch.incomplete, rows)),) if windowed else ()),
                ),
            )
            return rows - int(cursor.rowcount)

    def stored(self, batch: MicroBatch) -> list[Answer]:
        """What is stored for these events: all that may be answered to copies of them."""
        with self._connection.transaction():
            self._cursor.execute(
                _ANSWERS + " join unnest(%s::date[], %s::text[], %s::timestamptz[])"
                " v(date, id, time) on p.event_date = v.date and p.event_id = v.id"
                " and p.event_time = v.time where p.stream_id = %s",
                (*self._keys(batch), self._stream_id),
            )
            return [Answer(*row) for row in self._cursor.fetchall()]

    def settled(self, spans: Sequence[Span]) -> bool:
        """Whether a write of these was committed: by this owner, whoever asked for its outcome."""
        with self._connection.transaction():
            self._cursor.execute(
                "select count(*) from stream_offsets o"
                " join unnest(%s::int[], %s::bigint[], %s::bigint[]) v(part, next, epoch)"
                " on o.kafka_partition = v.part and o.next_offset = v.next and o.epoch = v.epoch"
                " where o.stream_id = %s",
                (
                    [s.partition for s in spans],
                    [s.next for s in spans],
                    [s.epoch for s in spans],
                    self._stream_id,
                ),
            )
            return bool(self._one()[0] == len(spans))

    def overtaken(self, spans: Sequence[Span]) -> dict[int, int]:
        """Partitions of these that were claimed again since: partition -> the span's epoch."""
        with self._connection.transaction():
            self._cursor.execute(
                "select v.part, v.epoch from stream_offsets o"
                " join unnest(%s::int[], %s::bigint[]) v(part, epoch)"
                " on o.kafka_partition = v.part and o.epoch > v.epoch where o.stream_id = %s",
                ([s.partition for s in spans], [s.epoch for s in spans], self._stream_id),
            )
            return dict(self._cursor.fetchall())

    def acknowledge(self, produced: Mapping[int, int], epochs: Mapping[int, int]) -> None:
        """Note that scored events below these offsets are in Kafka, where still the owner."""
        owned = [partition for partition in produced if partition in epochs]
        with self._connection.transaction():
            self._cursor.execute(
                "update stream_offsets o set produced_offset = v.produced"
                " from unnest(%s::int[], %s::bigint[], %s::bigint[]) v(part, produced, epoch)"
                " where o.stream_id = %s and o.kafka_partition = v.part and o.epoch = v.epoch"
                " and o.produced_offset < v.produced",
                (
                    owned,
                    [produced[p] for p in owned],
                    [epochs[p] for p in owned],
                    self._stream_id,
                ),
            )

    def _registered(self) -> tuple[int, str] | None:
        return self._cursor.execute(
            "select stream_id, topic_uuid from streams where topic = %s for update",
            (self._topic,),
        ).fetchone()

    def _write_cut(self, batch: MicroBatch, cut: Mapping[str, Sequence[int]]) -> None:
        spans = batch.spans
        self._cursor.execute(
            "insert into stream_batches (stream_id, kafka_partition, first_offset, next_offset,"
            " epoch, approval, cut, incomplete)"
            " select %s::smallint, v.*, %s::int, %s::jsonb, %s::boolean"
            " from unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[]) v",
            (
                self._stream_id,
                batch.approval,
                Jsonb({topic: [int(offset) for offset in read] for topic, read in cut.items()}),
                bool(_flags(batch.incomplete, len(batch.ids)).any()),
                [s.partition for s in spans],
                [s.first for s in spans],
                [s.next for s in spans],
                [s.epoch for s in spans],
            ),
        )

    def _keys(self, batch: MicroBatch) -> tuple[Any, Any, Any]:
        return (
            arrays.pack("date", batch.event_time // _DAY_US - arrays.PG_EPOCH_DAYS),
            arrays.pack_text(batch.ids),
            arrays.pack("timestamptz", batch.event_time - arrays.PG_EPOCH_US),
        )

    def _one(self) -> Any:
        row = self._cursor.fetchone()
        assert row is not None  # noqa: S101 - each statement that asks returns exactly one row
        return row


def require_within(topic: str, partition: int, following: int, low: int, high: int) -> None:
    """Raises OffsetsLost when a log that holds `low` to `high` cannot go on at `following`."""
    if not low <= following <= high:
        raise OffsetsLost(
            f"{topic}[{partition}] holds offsets {low} to {high},"
            f" but the warehouse continues at {following}",
            left="rows and offsets as they were",
            next=f"restore the log, or lockstep stream USE_CASE --accept-loss (continues at {low})",
        )


def _flat(windows: Any, rows: int) -> tuple[Any, int, int]:
    """All window values in one array, and its row width (for both ends of a row's slice)."""
    if len(windows) != rows:
        raise ValueError(f"window values of shape {windows.shape} for {rows} rows")
    width = windows.shape[1]
    return arrays.pack("float4", windows.reshape(-1)), width, width


def _flags(incomplete: Any, rows: int) -> Any:
    return np.zeros(rows, np.bool_) if incomplete is None else incomplete


def _insert(columns: str, values: str, arrays: str, rows: str) -> str:
    return (
        "insert into predictions_stream (event_date, stream_id, event_id, event_time, entity,"
        f" score, margin, approval, kafka_partition, kafka_offset{columns})"
        " select v.date, %s::smallint, v.id, v.time, v.entity, v.score, v.margin, %s::int,"
        f" v.part, v.off{values} from unnest(%s::date[], %s::text[],"
        " %s::timestamptz[], %s::text[], %s::real[], %s::real[], %s::int[], %s::bigint[]"
        f"{arrays}) {rows} on conflict do nothing"
    )


_INSERT = _insert("", "", "", "v(date, id, time, entity, score, margin, part, off)")
# One array for all rows, cut by row number: cheaper than an array parameter for each window.
_INSERT_WINDOWED = _insert(
    ", window_values, incomplete",
    ", (%s::real[])[(v.row - 1) * %s::int + 1 : v.row * %s::int], v.incomplete",
    ", %s::boolean[]",
    "with ordinality v(date, id, time, entity, score, margin, part, off, incomplete, row)",
)
_ANSWERS = (
    "select p.event_id, (extract(epoch from p.event_time) * 1000000)::bigint, p.score, p.margin,"
    " a.model_version, a.digest, p.kafka_partition, p.incomplete"
    " from predictions_stream p join approvals a on a.sequence = p.approval"
)
