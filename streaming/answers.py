"""The answers to replayed events: wait for them in the scored topic, and time them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from rich.progress import Progress

from lockstep.errors import Terminal, Transient
from lockstep.kafka import clients
from lockstep.kafka.reader import Reader
from lockstep.kafka.trouble import kafka_trouble
from lockstep.pipeline import Pipeline
from lockstep.trouble import Trouble

__all__ = ["Answers", "Sent", "await_answers", "ends", "event_id_of"]

_SILENCE_S = 60.0
"""Give up when no answer has come for so long."""
_TIMEOUT_S = 10.0


class _Named(msgspec.Struct, gc=False):
    """Of a scored event, what says whose answer it is."""

    event_id: str


_decode = msgspec.json.Decoder(_Named).decode


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
    consumer = _reader(kafka)
    consumer.assign([TopicPartition(scored, *place) for place in sent.answers_from.items()])
    latency: dict[str, float] = {}
    opened_ms, last_ms, heard = float("inf"), 0.0, time.monotonic()
    try:
        while len(latency) < len(sent.at_ms):
            for record in consumer.consume(5000, 0.2):
                if record.error() is not None:
                    _require_passing(record.error())
                    continue
                name, stamp = event_id_of(record.value()), record.timestamp()[1]
                if name in sent.at_ms and name not in latency:
                    latency[name] = stamp - sent.at_ms[name]
                    opened_ms = min(opened_ms, stamp)
                    last_ms, heard = max(last_ms, stamp), time.monotonic()
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


def event_id_of(value: bytes | None) -> str:
    """Whose answer a record of the scored topic is; empty: it is none."""
    try:
        return _decode(value or b"").event_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def ends(kafka: str, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends now. Raises Unreachable, or Terminal for no topic."""
    reader, deadline = Reader(kafka), time.monotonic() + _TIMEOUT_S
    while True:
        try:
            partitions = reader.topics([topic])[topic].partitions
            found = reader.ends((topic, number) for number in range(partitions))
        except Transient:
            # A partition is without a leader for a moment after its topic was created.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return {number: end for (_, number), end in found.items()}


def _require_passing(error: KafkaError) -> None:
    """What cannot be read is no answer; what will not pass ends the wait."""
    if kafka_trouble(error) is Trouble.FINAL:
        raise KafkaException(error)


def _reader(kafka: str) -> Consumer:
    return clients.consumer(
        kafka, "lockstep.replay", {"fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 5}
    )
