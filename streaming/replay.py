"""Recorded events, out of the lake and onto Kafka, in the order in which they became readable.

A record's timestamp is the recorded time, so that a replay years later reads as it did then.

Where the approved model has windows, their state goes along: from the first day that a window
may see, and each state event is acknowledged before an event that may see it is sent. That is
what happens by itself when events are sent as they happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lockstep.contracts import Contract, to_json
from lockstep.errors import Terminal, UsageError
from lockstep.kafka import clients
from lockstep.kafka.reader import told
from lockstep.kafka.trouble import kafka_trouble
from lockstep.lake import read_partition
from lockstep.pipeline import Pipeline
from lockstep.registry.approved import approved_model
from lockstep.settings import Settings
from lockstep.trouble import Trouble
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import answered
from lockstep.windows.semantics import WindowSet
from streaming.answers import Answers, Sent, await_answers, ends

__all__ = [
    "Recorded",
    "Replay",
    "ensure_topic",
    "progress_bar",
    "recorded",
    "replay",
    "send",
    "ship",
]

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Replay:
    """What a replay did."""

    topic: str
    first: date
    last: date
    sent: int
    """Events of the days that were asked for."""
    answered_before: int
    """Of these, events that the stream of this topic had scored already, and answers as then."""
    before: int
    """Events of earlier days, which windows may see."""
    sending_s: float
    answers: Answers | None

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [
            f"sent {self.sent:,} events of {self.first} to {self.last} to {self.topic}"
            f" in {self.sending_s:.1f} s"
            + (f", with {self.before:,} earlier ones that windows see" if self.before else "")
        ]
        if self.answered_before:
            lines.append(
                f"{self.answered_before:,} of them had been scored in {self.topic} before: those"
                " answers are the stored ones, not new scores (--topic NAME sends them elsewhere,"
                " to be scored again)"
            )
        if self.answers:
            a = self.answers
            lines.append(
                f"answered {a.answered:,} in {a.seconds:.1f} s"
                f" ({a.answered / a.seconds:,.0f} events/s);"
                f" latency p50 {a.p50_ms:.0f} ms, p99 {a.p99_ms:.0f} ms"
            )
        return "\n".join(lines)


class Recorded(NamedTuple):
    """A record as it was; they sort by when they became readable. Times in microseconds."""

    available_at: int
    scored: bool
    key: str
    value: bytes
    topic: str
    time: int
    asked_for: bool


def replay(
    settings: Settings,
    pipeline: Pipeline,
    first: date,
    last: date,
    *,
    rate: float | None = None,
    topic: str | None = None,
    backlog: bool = False,
    wait: bool = True,
    progress: bool = False,
) -> Replay:
    """Send the days `first` to `last`, at most `rate` of their events a second; time the answers.

    Topics that do not exist are created. `backlog` sends everything at once, without waiting
    for acknowledgements in between: for topics that no worker reads until it is done.
    Raises LakeError for a missing day, Unreachable when Kafka does not answer, Terminal when
    answers stop coming, ModelRefused when no model is approved, UsageError where records get the
    broker's time.
    """
    if pipeline.stream.timestamps == "LogAppendTime":
        raise UsageError(
            f"a replay into a deployment of {pipeline.use_case} whose records have the broker's"
            " time: recorded events would be as late as they are old, and nobody scores those",
            left="nothing was sent",
            next='replay in a deployment whose pipeline.toml says stream.timestamps = "CreateTime"',
        )
    pipeline = pipeline.on(topic) if topic else pipeline
    with closing(connect(settings, "scorer", pipeline.use_case)) as connection:
        _, model = approved_model(settings, pipeline.use_case, connection)
        known = answered(connection, pipeline.topics.events, first, last)
    with progress_bar(progress) as bar:
        sent, before = send(
            settings, pipeline, model.windows, first, last, rate=rate, backlog=backlog, bar=bar
        )
        answers = None
        if wait and not backlog:
            answers = _reached(
                settings.kafka, lambda: await_answers(settings.kafka, pipeline, sent, bar)
            )
    return Replay(
        topic=pipeline.topics.events,
        first=first,
        last=last,
        sent=len(sent.at_ms),
        answered_before=sum((name, at) in known for name, at in sent.times.items()),
        before=before,
        sending_s=sent.seconds,
        answers=answers,
    )


def progress_bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )


def send(
    settings: Settings,
    pipeline: Pipeline,
    windows: WindowSet,
    first: date,
    last: date,
    *,
    rate: float | None,
    backlog: bool,
    bar: Progress,
) -> tuple[Sent, int]:
    """Send recorded events; what was asked for, and how many earlier ones went before."""
    records = recorded(settings.lake, pipeline, windows, first, last)
    before = sum(1 for record in records if record.scored and not record.asked_for)
    sent = ship(settings.kafka, pipeline, windows, records, rate=rate, backlog=backlog, bar=bar)
    return sent, before


def ship(
    kafka: str,
    pipeline: Pipeline,
    windows: WindowSet,
    records: Sequence[Recorded],
    *,
    rate: float | None,
    backlog: bool,
    bar: Progress,
) -> Sent:
    """Send records in their order, into topics that are created where they do not exist."""

    def go() -> Sent:
        for topic in sorted({pipeline.topics.events, *(r.topic for r in records)}):
            ensure_topic(kafka, topic, pipeline.topics.partitions, pipeline.stream.timestamps)
        answers_from = ends(kafka, pipeline.topics.scored)
        return _send(kafka, windows, records, rate, backlog, answers_from, bar)

    sent: Sent = _reached(kafka, go)
    return sent


def _reached(kafka: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except KafkaException as error:
        failed = told(kafka, error)
        failed.left = "what was sent before is in the topic"
        raise failed from None


def recorded(
    lake: str, pipeline: Pipeline, windows: WindowSet, first: date, last: date
) -> list[Recorded]:
    """Everything that is to be sent, in the order in which it became readable."""
    asked_for = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    found: list[Recorded] = []
    for source in sorted({pipeline.lake_table, *windows.sources}):
        scored = source == pipeline.lake_table
        days = set(windows.days(source, first, last)) | (set(asked_for) if scored else set())
        contract = windows.contracts.get(source) or Contract.of_source(pipeline.use_case, source)
        for day in sorted(days):
            table = read_partition(lake, contract, day, landed=True)
            times = table[contract.time].cast("int64")
            # What never was on Kafka became readable when it happened.
            available = pc.coalesce(table["_available_at"].cast("int64"), times).to_pylist()
            ids, values = table[contract.id].to_pylist(), to_json(contract, table)
            topic, asked = pipeline.topic_of(source), day in asked_for
            found += [
                Recorded(readable, scored, key, value, topic, at, asked)
                for readable, key, value, at in zip(
                    available, ids, values, times.to_pylist(), strict=True
                )
            ]
    return sorted(found)


def ensure_topic(kafka: str, topic: str, partitions: int, timestamps: str) -> None:
    """Create a topic of one replica unless it exists."""
    admin = clients.admin(kafka, "lockstep.replay")
    if topic in admin.list_topics(timeout=_TIMEOUT_S).topics:
        return
    new = NewTopic(topic, partitions, 1, config={"message.timestamp.type": timestamps})
    for future in admin.create_topics([new], request_timeout=_TIMEOUT_S).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _send(
    kafka: str,
    windows: WindowSet,
    records: Sequence[Recorded],
    rate: float | None,
    backlog: bool,
    answers_from: dict[int, int],
    bar: Progress,
) -> Sent:
    task = bar.add_task("sending", total=len(records))
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Any) -> None:
        if error is not None:
            refused.append(error)

    producer = clients.producer(
        kafka,
        "lockstep.replay",
        {
            "enable.idempotence": True,
            "linger.ms": 2,
            "message.timeout.ms": 60_000,
            # The topic decides what is too large.
            "message.max.bytes": 1_000_000_000,
            # A key's partition, as Kafka's own clients choose it.
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
            "on_delivery": delivered,
        },
    )

    def produce(record: Recorded) -> None:
        at = record.available_at // 1000
        while True:
            try:
                return producer.produce(
                    record.topic, record.value, record.key.encode(), timestamp=at
                )
            except BufferError:
                producer.poll(0.1)

    def acknowledged() -> None:
        while producer.flush(0.5):
            pass

    at_ms: dict[str, float] = {}
    times: dict[str, int] = {}
    unacknowledged_from: int | None = None
    begin = time.time()
    try:
        for number, record in enumerate(_paced(records, rate)):
            if record.scored and not backlog and unacknowledged_from is not None:
                sees = max((windows.as_of(w, record.time) for w in windows.windows), default=None)
                if sees is not None and unacknowledged_from < sees:
                    acknowledged()
                    unacknowledged_from = None
            if record.asked_for and record.scored:
                at_ms[record.key] = time.time() * 1000
                times[record.key] = record.time
            produce(record)
            if unacknowledged_from is None or record.time < unacknowledged_from:
                unacknowledged_from = record.time
            if number % 500 == 0:
                producer.poll(0)
                bar.update(task, completed=number)
        acknowledged()
        bar.update(task, completed=len(records))
    finally:
        producer.flush(0 if refused else _TIMEOUT_S)
    if refused and kafka_trouble(refused[0]) is Trouble.PASSING:
        raise KafkaException(refused[0])
    if refused:
        raise Terminal(
            f"Kafka refused {len(refused)} of {len(records)} events: {refused[0].str()}",
            left="the others are in their topics",
            next="correct the topics' rights or limits, then replay again into fresh topics",
        )
    return Sent(at_ms, times, time.time() - begin, answers_from)


def _paced(records: Sequence[Recorded], rate: float | None) -> Iterator[Recorded]:
    """The records, those that were asked for at `rate`, earlier ones and state at once."""
    begin, paced = 0.0, 0
    for record in records:
        if rate and record.asked_for and record.scored:
            begin = begin or time.perf_counter()
            ahead = paced / rate - (time.perf_counter() - begin)
            if ahead > 0:
                time.sleep(ahead)
            paced += 1
        yield record
