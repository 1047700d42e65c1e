"""A topic as a streaming source of Spark, written in Python: no jars, and one Kafka client.

    1. a place in the log names the topic by Kafka's own id, and Spark keeps it in the checkpoint
    2. a run looks once where the log ends, and lands up to there in epochs of bounded size
    3. an epoch is cut into stretches of one partition each, always into the same ones: a
       stretch is a task
    4. a task yields a stretch's records as they are; what they mean is not decided here
    5. when it has them all it looks whether the topic is still the same one

A log that is another one, or no longer holds what comes next, is an error at each of these
steps and never a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from lockstep.contracts import too_large
from lockstep.errors import LockstepError, OffsetsLost, Transient, marked
from lockstep.kafka import clients
from lockstep.kafka.reader import recorded_at, told
from lockstep.kafka.trouble import LOG_MOVED, kafka_trouble
from lockstep.kafka.unreadable import is_unreadable, unreadable
from lockstep.landing.log import Log, log_of, stretch_of_log
from lockstep.trouble import Trouble

__all__ = ["EPOCH_RECORDS", "STRETCH_RECORDS", "KafkaLog"]

STRETCH_RECORDS = 250_000
"""Of one partition, landed by one task, which holds them in memory."""
EPOCH_RECORDS = 4_000_000
"""Landed between two checkpoints."""
_ARROW_ROWS = 8192
_SILENCE_S = 30.0
"""Give up when nothing has come for so long although the log holds more."""
_SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("first", pa.int64()),
        pa.field("following", pa.int64()),
        pa.field("offset", pa.int64()),
        pa.field("timestamp_ms", pa.int64()),
        pa.field("value", pa.binary()),
        pa.field("unread", pa.string()),
    ]
)
_ARROW_BYTES = 64 * 2**20
"""Of the values handed over at once."""

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class KafkaLog(DataSource):
    """`spark.readStream.format("kafka_log")`; options: kafka, topic, checkpoint and max_bytes.

    `partition`, `first` and `following` name the stretch that a record is of; timestamp_ms is
    null for a record without one. `unread` says why there is no value to look at: it is larger
    than the option max_bytes, or Kafka's client cannot read it.
    """

    def __init__(self, options: MutableMapping[str, str]) -> None:
        super().__init__(options)
        self._given = options["kafka"], options["topic"], options["checkpoint"]
        self._max_bytes = int(options["max_bytes"])

    @classmethod
    def name(cls) -> str:
        return "kafka_log"

    def schema(self) -> str:
        return (
            "partition int, first long, following long, offset long, timestamp_ms long,"
            " value binary, unread string"
        )

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802
        return _Reader(*self._given, self._max_bytes)


@dataclass
class _Stretch(InputPartition):
    """Offsets `first` (inclusive) to `following` (exclusive) of one partition."""

    topic_id: str
    partition: int
    first: int
    following: int


def _told(method: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Carry an error through Spark as text: it is found again on the other side."""

    @wraps(method)
    def telling(*given: _Given.args, **named: _Given.kwargs) -> _Result:
        try:
            return method(*given, **named)
        except LockstepError as error:
            raise RuntimeError(marked(error)) from None

    return telling


class _Reader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Runs on the driver, except for `read`."""

    def __init__(self, kafka: str, topic: str, checkpoint: str, max_bytes: int) -> None:
        self._kafka, self._topic, self._checkpoint = kafka, topic, checkpoint
        self._max_bytes = max_bytes
        self._target: Log | None = None

    @_told
    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        self._target = self._look()

    @_told
    def initialOffset(self) -> dict[str, Any]:  # noqa: N802
        log = self._target or self._look()
        return log.position(log.first)

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        return ReadMaxRows(EPOCH_RECORDS)

    @_told
    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        log = self._target or self._look()
        offsets = log.offsets(start, self._checkpoint)
        ends = dict(log.next)
        if isinstance(limit, ReadMaxRows):
            share = max(1, limit.max_rows // len(ends))
            ends = {number: min(end, offsets[number] + share) for number, end in ends.items()}
        return log.position(ends)

    @_told
    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[InputPartition]:
        # Looked at now: it may be an epoch of yesterday that has to be done again.
        log = self._look()
        begin = log.offsets(start, self._checkpoint)
        return [
            _Stretch(log.topic_id, int(number), *stretch)
            for number, offset in end["next"].items()
            for stretch in stretch_of_log(begin[int(number)], offset, STRETCH_RECORDS)
        ]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        stretch = cast(_Stretch, partition)
        try:
            yield from _records(self._kafka, self._topic, stretch, self._max_bytes)
            self._look().require(stretch.topic_id, self._checkpoint)
        except LockstepError as error:
            raise RuntimeError(marked(error)) from None

    def _look(self) -> Log:
        return log_of(self._kafka, self._topic)


class _Record(NamedTuple):
    """A record as it is handed over."""

    offset: int
    timestamp_ms: int | None = None
    value: bytes | None = None
    unread: str | None = None


def _records(kafka: str, topic: str, stretch: _Stretch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    consumer = clients.consumer(
        kafka,
        "lockstep.landing",
        {
            # A transaction's end has an offset and no record: only the end of the log tells.
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
        },
    )
    try:
        consumer.assign([TopicPartition(topic, stretch.partition, stretch.first)])
        heard, at = time.monotonic(), stretch.first
        while True:
            messages = consumer.consume(_ARROW_ROWS, 0.2)
            records, done, stuck = _within(messages, stretch, max_bytes)
            at = records[-1].offset + 1 if records else at
            if stuck is not None:
                unread = unreadable(kafka, topic, stretch.partition, at)
                records += [
                    _Record(offset, unread=stuck) for offset in unread if offset < stretch.following
                ]
                end = unread.stop
                clients.read_from(consumer, topic, stretch.partition, end)
                at, done = end, end >= stretch.following
            yield from _arrow(records, stretch)
            if done:
                return
            if records:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                raise Transient(
                    f"{topic}[{stretch.partition}] gave no record for {_SILENCE_S:.0f} s, and"
                    f" offsets up to {stretch.following} were expected of {kafka}",
                    left="nothing of this stretch; the next landing begins with it",
                    next="lockstep status, then land again",
                )
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if reason.code() in LOG_MOVED:
            raise OffsetsLost(
                f"{topic}[{stretch.partition}] no longer holds offset {stretch.first}:"
                " it was deleted while it was to be landed",
                left="what was landed before stays in the lake; nothing was added",
                next="land again, which says what is left of the log",
            ) from None
        raise told(kafka, error) from None
    finally:
        consumer.close()


def _within(
    messages: list[Message], stretch: _Stretch, max_bytes: int
) -> tuple[list[_Record], bool, str | None]:
    """The records of the stretch, whether there are no more of them, and what the client says of
    the next one if it cannot read it.
    """
    records: list[_Record] = []
    for message in messages:
        error = message.error()
        if error is None:
            if message.offset() >= stretch.following:
                return records, True, None
            records.append(_record(message, max_bytes))
        elif error.code() == KafkaError._PARTITION_EOF:
            if message.offset() >= stretch.following:
                return records, True, None
        elif is_unreadable(error):
            return records, False, f"cannot be read: {error.str()}"
        elif kafka_trouble(error) is not Trouble.PASSING:
            raise KafkaException(error)
    return records, bool(records) and records[-1].offset == stretch.following - 1, None


def _record(message: Message, max_bytes: int) -> _Record:
    value, stamp = message.value(), recorded_at(message)
    if value is not None and len(value) > max_bytes:
        # Not handed on: one may be larger than all that Spark gives a task.
        return _Record(message.offset(), stamp, None, too_large(len(value), max_bytes))
    return _Record(message.offset(), stamp, value)


def _arrow(records: list[_Record], stretch: _Stretch) -> Iterator[pa.RecordBatch]:
    """The records in batches of bounded size."""
    begin, size = 0, 0
    for number, record in enumerate(records):
        size += len(record.value or b"")
        if size > _ARROW_BYTES:
            yield _batch(records[begin : number + 1], stretch)
            begin, size = number + 1, 0
    if begin < len(records):
        yield _batch(records[begin:], stretch)


def _batch(records: list[_Record], stretch: _Stretch) -> pa.RecordBatch:
    rows = len(records)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([stretch.partition] * rows, pa.int32()),
            pa.array([stretch.first] * rows, pa.int64()),
            pa.array([stretch.following] * rows, pa.int64()),
            pa.array([record.offset for record in records], pa.int64()),
            pa.array([record.timestamp_ms for record in records], pa.int64()),
            pa.array([record.value for record in records], pa.binary()),
            pa.array([record.unread for record in records], pa.string()),
        ],
        schema=_SCHEMA,
    )
