"""Recorded events, out of the lake and onto Kafka, in the order in which they became readable.

A record's timestamp is the recorded time, so that a replay years later reads as it did then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAlreadyExistsError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lockstep.contracts import Contract, to_json
from lockstep.errors import Terminal, Unreachable
from lockstep.lake import read_partition
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from streaming.codec import ScoredEvent

__all__ = ["Answers", "Replay", "Sent", "ensure_topic", "replay"]

_SILENCE_S = 60.0
"""Give up when no answer has come for so long."""


@dataclass(frozen=True)
class Sent:
    """Events on their way: when each was sent (ms since 1970), and where answers begin."""

    at_ms: dict[str, float]
    seconds: float
    answers_from: dict[int, int]


@dataclass(frozen=True)
class Answers:
    """Latency is from send() to the timestamp that the broker gave the scored event."""

    answered: int
    seconds: float
    """From the first event sent to the last one answered."""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Replay:
    """What a replay did."""

    topic: str
    first: date
    last: date
    sent: int
    sending_s: float
    answers: Answers | None

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [
            f"sent {self.sent:,} events of {self.first} to {self.last} to {self.topic}"
            f" in {self.sending_s:.1f} s ({self.sent / self.sending_s:,.0f} events/s)"
        ]
        if self.answers:
            a = self.answers
            lines.append(
                f"answered {a.answered:,} in {a.seconds:.1f} s"
                f" ({a.answered / a.seconds:,.0f} events/s);"
                f" latency p50 {a.p50_ms:.0f} ms, p99 {a.p99_ms:.0f} ms"
            )
        return "\n".join(lines)


def replay(
    settings: Settings,
    pipeline: Pipeline,
    first: date,
    last: date,
    *,
    rate: float | None = None,
    topic: str | None = None,
    wait: bool = True,
    progress: bool = False,
) -> Replay:
    """Send the days `first` to `last`, at most `rate` events a second, and time the answers.

    A topic that does not exist is created. Raises LakeError for a missing day, Unreachable
    when Kafka does not answer, Terminal when answers stop coming.
    """
    topic = topic or pipeline.topics.events
    contract = Contract.of_source(pipeline.use_case, pipeline.lake_table)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    events = [event for day in days for event in _events(settings.lake, contract, day)]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not progress,
    )
    try:
        with bar:
            ensure_topic(settings.kafka, topic, pipeline.topics.partitions)
            sent = _send(settings.kafka, pipeline, topic, events, rate, bar)
            answers = _answers(settings.kafka, pipeline, sent, bar) if wait else None
    except (KafkaTimeoutError, KafkaConnectionError) as error:
        raise Unreachable(
            f"Kafka at {settings.kafka} does not answer: {error}",
            left="what was sent before is in the topic",
            next="lockstep status (lockstep up starts the local one)",
        ) from None
    return Replay(topic, first, last, len(events), sent.seconds, answers)


def _events(lake: str, contract: Contract, day: date) -> list[tuple[int, str, bytes]]:
    """(time in microseconds, id, JSON) of one day, in order of time and id."""
    table = read_partition(lake, contract, day).sort_by(
        [(contract.time, "ascending"), (contract.id, "ascending")]
    )
    times = table[contract.time].cast("int64").to_pylist()
    return list(zip(times, table[contract.id].to_pylist(), to_json(contract, table), strict=True))


def ensure_topic(kafka: str, topic: str, partitions: int) -> None:
    """Create a topic of one replica unless it exists."""
    admin = KafkaAdminClient(bootstrap_servers=kafka, bootstrap_timeout_ms=5000)
    try:
        if topic not in admin.list_topics():
            admin.create_topics([NewTopic(topic, partitions, 1)])
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


def _send(
    kafka: str,
    pipeline: Pipeline,
    topic: str,
    events: list[tuple[int, str, bytes]],
    rate: float | None,
    bar: Progress,
) -> Sent:
    answers_from = _ends(kafka, pipeline.topics.scored)
    task = bar.add_task("sending", total=len(events))
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=2, batch_size=1 << 18)
    refused: list[BaseException] = []
    at_ms = {}
    begin = time.time()
    try:
        for number, (at_us, key, value) in enumerate(_paced(events, rate)):
            at_ms[key] = time.time() * 1000
            producer.send(topic, value, key.encode(), timestamp_ms=at_us // 1000).add_errback(
                refused.append
            )
            if number % 500 == 0:
                bar.update(task, completed=number)
        producer.flush()
        bar.update(task, completed=len(events))
    finally:
        producer.close()
    if refused:
        raise Terminal(
            f"Kafka refused {len(refused)} of {len(events)} events: {refused[0]}",
            left="the others are in the topic",
            next=f"correct the rights or limits of {topic}, then replay again",
        )
    return Sent(at_ms, time.time() - begin, answers_from)


def _paced(
    events: list[tuple[int, str, bytes]], rate: float | None
) -> Iterator[tuple[int, str, bytes]]:
    begin = time.perf_counter()
    for number, event in enumerate(events):
        if rate:
            ahead = number / rate - (time.perf_counter() - begin)
            if ahead > 0:
                time.sleep(ahead)
        yield event


def _answers(kafka: str, pipeline: Pipeline, sent: Sent, bar: Progress) -> Answers:
    scored = pipeline.topics.scored
    task = bar.add_task("answered", total=len(sent.at_ms))
    decode = msgspec.json.Decoder(ScoredEvent).decode
    consumer = _reader(kafka)
    consumer.assign([TopicPartition(scored, number) for number in sent.answers_from])
    for number, offset in sent.answers_from.items():
        consumer.seek(TopicPartition(scored, number), offset)
    latency: dict[str, float] = {}
    last_ms, heard = 0.0, time.monotonic()
    try:
        while len(latency) < len(sent.at_ms):
            for records in consumer.poll(timeout_ms=200, max_records=5000).values():
                for record in records:
                    name = decode(record.value).event_id
                    if name in sent.at_ms and name not in latency:
                        latency[name] = record.timestamp - sent.at_ms[name]
                        last_ms, heard = max(last_ms, record.timestamp), time.monotonic()
            bar.update(task, completed=len(latency))
            if time.monotonic() - heard > _SILENCE_S:
                raise Terminal(
                    f"{len(sent.at_ms) - len(latency):,} of {len(sent.at_ms):,} events have no"
                    f" answer in {scored}, and none came for {_SILENCE_S:.0f} s",
                    left="the events are in their topic; a worker will answer them",
                    next=f"lockstep stream {pipeline.use_case}, or look at its /health page",
                )
    finally:
        consumer.close()
    times = np.array(list(latency.values()))
    first_ms = min(sent.at_ms.values())
    return Answers(
        answered=len(latency),
        seconds=max((last_ms - first_ms) / 1000, 0.001),
        p50_ms=float(np.percentile(times, 50)),
        p99_ms=float(np.percentile(times, 99)),
    )


def _ends(kafka: str, topic: str) -> dict[int, int]:
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
