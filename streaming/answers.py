"""The answers to replayed events: wait for them in the scored topic, and time them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition
from rich.progress import Progress

from lockstep.errors import Terminal
from lockstep.pipeline import Pipeline
from streaming.codec import ScoredEvent

__all__ = ["Answers", "Sent", "await_answers", "ends"]

_SILENCE_S = 60.0
"""Give up when no answer has come for so long."""


@dataclass(frozen=True)
class Sent:
    """Events on their way: when each was sent (ms since 1970), and where answers begin."""

    at_ms: dict[str, float]
    times: dict[str, int]
    """Event time, microseconds since 1970."""
    seconds: float
    answers_from: dict[int, int]


@dataclass(frozen=True)
class Answers:
    """Latency is from send() to the timestamp that the worker gave the scored event."""

    answered: int
    seconds: float
    """From the first event sent to the last one answered."""
    per_second: float
    """Answers a second, between the first and the last of them."""
    p50_ms: float
    p99_ms: float


def await_answers(kafka: str, pipeline: Pipeline, sent: Sent, bar: Progress) -> Answers:
    """Wait until every event that was sent is answered. Raises Terminal when answers stop."""
    scored = pipeline.topics.scored
    task = bar.add_task("answered", total=len(sent.at_ms))
    decode = msgspec.json.Decoder(ScoredEvent).decode
    consumer = _reader(kafka)
    consumer.assign([TopicPartition(scored, number) for number in sent.answers_from])
    for number, offset in sent.answers_from.items():
        consumer.seek(TopicPartition(scored, number), offset)
    latency: dict[str, float] = {}
    opened_ms, last_ms, heard = float("inf"), 0.0, time.monotonic()
    try:
        while len(latency) < len(sent.at_ms):
            for records in consumer.poll(timeout_ms=200, max_records=5000).values():
                for record in records:
                    name = decode(record.value).event_id
                    if name in sent.at_ms and name not in latency:
                        latency[name] = record.timestamp - sent.at_ms[name]
                        opened_ms = min(opened_ms, record.timestamp)
                        last_ms, heard = max(last_ms, record.timestamp), time.monotonic()
            bar.update(task, completed=len(latency))
            if time.monotonic() - heard > _SILENCE_S:
                raise Terminal(
                    f"{len(sent.at_ms) - len(latency):,} of {len(sent.at_ms):,} events have no"
                    f" answer in {scored}, and none came for {_SILENCE_S:.0f} s",
                    left="the events are in their topic; a worker answers them or sends them to"
                    f" {pipeline.topics.dead_letters}",
                    next=f"lockstep stream {pipeline.use_case}, or look at its /health page",
                )
    finally:
        consumer.close()
    times = np.array(list(latency.values()))
    first_ms = min(sent.at_ms.values())
    return Answers(
        answered=len(latency),
        seconds=max((last_ms - first_ms) / 1000, 0.001),
        per_second=len(latency) / max((last_ms - opened_ms) / 1000, 0.001),
        p50_ms=float(np.percentile(times, 50)),
        p99_ms=float(np.percentile(times, 99)),
    )


def ends(kafka: str, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends now."""
    consumer = _reader(kafka)
    try:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise Terminal(
                f"topic {topic} does not exist on {kafka}",
                next="lockstep up (creates the topics of every pipeline.toml), or create it",
            )
        ends = consumer.end_offsets([TopicPartition(topic, number) for number in numbers])
        return {partition.partition: offset for partition, offset in ends.items()}
    finally:
        consumer.close()


def _reader(kafka: str) -> KafkaConsumer:
    # Checking CRCs in Python costs eight times the rest of reading a record.
    return KafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, check_crcs=False, fetch_max_wait_ms=50
    )
