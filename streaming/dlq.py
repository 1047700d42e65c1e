"""Reading the dead letters: which events were refused, and why.

Whatever lies in the topic is listed, letter or not: nobody else keeps producers from writing to
it. What a header should say and does not is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from lockstep.errors import printable
from lockstep.kafka import clients
from lockstep.kafka.reader import Reader, told
from lockstep.kafka.trouble import kafka_trouble
from lockstep.kafka.unreadable import is_unreadable, unreadable
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.trouble import Trouble
from streaming.dead_letters import HEADER, headers_of

__all__ = ["facts", "newest"]

_TIMEOUT_S = 10.0
_LONGEST = 1000


def newest(settings: Settings, pipeline: Pipeline, limit: int) -> dict[str, Any]:
    """The newest `limit` dead letters, oldest first, and how many there are.

    Raises Unreachable when Kafka does not answer, Terminal for a topic that does not exist.
    """
    topic = pipeline.topics.dead_letters
    reader = Reader(settings.kafka)
    places = [(topic, number) for number in range(reader.topics([topic])[topic].partitions)]
    total, found = 0, []
    for (_, number), (first, end) in reader.bounds(places).items():
        total += end - first
        if limit and end > first:
            found += _read(settings.kafka, topic, number, max(first, end - limit), end)
    found.sort(key=lambda letter: letter[0])
    return {
        "dead_letter_topic": topic,
        "total": total,
        "letters": [letter for _, letter in found[-limit:]] if limit else [],
    }


def _read(
    kafka: str, topic: str, partition: int, first: int, end: int
) -> list[tuple[int, dict[str, Any]]]:
    """(timestamp, facts) of a partition's records from `first` on, up to where it ended."""
    consumer = clients.consumer(
        kafka, "lockstep.letters", {"enable.partition.eof": True}, start="earliest"
    )
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        consumer.assign([TopicPartition(topic, partition, first)])
        while True:
            message = consumer.poll(_TIMEOUT_S)
            error = KafkaError(KafkaError._TIMED_OUT) if message is None else message.error()
            if error is None:
                if message.offset() < end:
                    found.append((message.timestamp()[1], facts(message)))
                if message.offset() >= end - 1:
                    return found
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
            elif is_unreadable(error):
                at = found[-1][1]["letter"]["offset"] + 1 if found else first
                unread = unreadable(kafka, topic, partition, at)
                stamp = found[-1][0] if found else 0
                found += [(stamp, _facts(partition, offset)) for offset in unread]
                clients.read_from(consumer, topic, partition, unread.stop)
            elif message is None or kafka_trouble(error) is not Trouble.PASSING:
                raise told(kafka, KafkaException(error))
    finally:
        consumer.close()


def facts(message: Message) -> dict[str, Any]:
    """What a record of the topic says of itself, as text and numbers that can be shown."""
    about = {
        name.removeprefix(HEADER): printable(value.decode(errors="replace"), _LONGEST)
        for name, value in headers_of(message) or ()
        if name.startswith(HEADER) and value is not None
    }
    return _facts(message.partition(), message.offset(), about, len(message.value() or b""))


def _facts(
    partition: int, offset: int, about: Mapping[str, str] | None = None, size: int = 0
) -> dict[str, Any]:
    about = about or {}
    left_out = about.get("left_out")
    return {
        "topic": about.get("topic"),
        "partition": _number(about.get("partition")),
        "offset": _number(about.get("offset")),
        "reason": about.get("reason"),
        "bytes": _number(about.get("bytes"), size),
        "sha256": about.get("sha256"),
        "left_out": left_out.split(",") if left_out else [],
        "begins": about.get("begins"),
        "letter": {"partition": partition, "offset": offset},
    }


def _number(text: str | None, otherwise: int = -1) -> int:
    """What a header says, where it is a number that can be an offset."""
    if not (text and text.isascii() and text.isdigit() and len(text) <= 19):
        return otherwise
    return int(text) if int(text) < 2**63 else otherwise
