"""Reading the dead letters: which events were refused, and why."""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError

from lockstep.errors import Unreachable, UsageError
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from streaming.dead_letters import HEADER

__all__ = ["newest"]


def newest(settings: Settings, pipeline: Pipeline, limit: int) -> dict[str, Any]:
    """The newest `limit` dead letters of each partition's end, oldest first, and the total."""
    topic = pipeline.topics.dead_letters
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka,
            bootstrap_timeout_ms=5000,
            enable_auto_commit=False,
            check_crcs=False,
        )
    except KafkaTimeoutError:
        raise Unreachable(
            f"Kafka at {settings.kafka} does not answer", next="lockstep status"
        ) from None
    try:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise UsageError(f"topic {topic} does not exist", next="lockstep up")
        partitions = [TopicPartition(topic, number) for number in numbers]
        begin, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, max(begin[partition], end[partition] - limit))
        records: list[Any] = []
        while any(consumer.position(p) < end[p] for p in partitions):
            for found in consumer.poll(timeout_ms=500).values():
                records += found
    finally:
        consumer.close()
    records.sort(key=lambda record: record.timestamp)
    return {
        "dead_letter_topic": topic,
        "total": sum(end[p] - begin[p] for p in partitions),
        "letters": [_facts(record) for record in records[-limit:]] if limit else [],
    }


def _facts(record: Any) -> dict[str, Any]:
    headers = {
        name.removeprefix(HEADER): value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith(HEADER)
    }
    return {
        "topic": headers.get("topic"),
        "partition": int(headers.get("partition", -1)),
        "offset": int(headers.get("offset", -1)),
        "reason": headers.get("reason"),
        "bytes": len(record.value or b""),
    }
