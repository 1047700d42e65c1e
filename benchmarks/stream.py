"""The streaming worker beside a stock Faust agent: events a second on one core, and latency.

Needs a running stack with an approved model (`make demo`). Each subject reads a topic that was
filled before it started, is pinned to one core, and is timed between the commits of its first
and its last micro-batch, so that starting up does not count.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.report import Report, arguments
from lockstep.contracts import Contract, to_json
from lockstep.lake import read_partition
from lockstep.pipeline import Pipeline
from lockstep.registry.approved import approved_model
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect

USE_CASE = "flight_delay"
FIRST_DAY = date(2013, 11, 1)
PARTITIONS = 4
WORKER_CORE = (os.cpu_count() or 1) - 1
LIMIT_S = 300


def main() -> None:
    given = arguments(__doc__ or "")
    settings, pipeline = Settings.load(), Pipeline.load(USE_CASE)
    with closing(connect(settings, "scorer", USE_CASE)) as connection:
        _, model = approved_model(settings, USE_CASE, connection)
    events = recorded(settings, pipeline, model.contract, 30_000 if given.quick else 300_000)
    report = Report("stream")
    rates: list[float] = []
    for _ in range(1 if given.quick else 3):
        rates.append(lockstep_rate(settings, events))
        report.add("end_to_end", "lockstep", rates[-1:], "events/s", "faust_take")
        few = events[: len(events) // 10]
        report.add("end_to_end", "faust_take", [faust_rate(settings, model, few)], "events/s")
    half = float(np.median(rates)) / 2
    took = latencies(settings, pipeline, events[: int(half * (3 if given.quick else 10))], half)
    report.add("p50_ms_50", "lockstep", [float(np.percentile(took, 50))], "ms")
    report.add("p99_ms_50", "lockstep", [float(np.percentile(took, 99))], "ms")
    report.publish(given.json)


def recorded(
    settings: Settings, pipeline: Pipeline, contract: Contract, count: int
) -> list[tuple[str, bytes]]:
    """So many real events as (id, JSON); once the lake is through, again under other ids."""
    days = [FIRST_DAY + timedelta(days=n) for n in range(30)]
    source = Contract.of_source(USE_CASE, pipeline.lake_table)
    tables = [read_partition(settings.lake, source, day) for day in days]
    ids = [name for table in tables for name in table[contract.id].to_pylist()]
    values = [value for table in tables for value in to_json(source, table)]
    made = []
    for number in range(math.ceil(count / len(ids))):
        for name, value in zip(ids, values, strict=True):
            other = f"{number}-{name}"
            made.append((other, value.replace(f'"{name}"'.encode(), f'"{other}"'.encode(), 1)))
    return made[:count]


def lockstep_rate(settings: Settings, events: list[tuple[str, bytes]]) -> float:
    """Events a second through `python -m streaming.app`."""
    topic = fresh_topic(settings)
    fill(settings, topic, events)
    with worker(["-m", "streaming.app", USE_CASE, "--topic", topic]) as process:
        query = (
            "select scored_at, count(*) from predictions_stream"
            " join streams using (stream_id) where topic = %s group by 1 order by 1"
        )
        return rate(settings, process, query, (topic,), len(events))


def faust_rate(settings: Settings, model: Any, events: list[tuple[str, bytes]]) -> float:
    """Events a second through benchmarks/faust_take.py."""
    topic, answers = fresh_topic(settings), fresh_topic(settings)
    fill(settings, topic, events)
    file = settings.home / "models" / f"{model.digest}.onnx"
    table = topic.replace(".", "_")
    with closing(connect(settings, "scorer", USE_CASE)) as connection:
        connection.execute(
            f'create table "{table}" (event_id text primary key, event_time timestamptz,'
            " entity text, score real, margin real, scored_at timestamptz)"
        )
        try:
            with worker(
                ["-m", "benchmarks.faust_take", str(file), topic, answers, table]
            ) as process:
                query = f'select scored_at, count(*) from "{table}" group by 1 order by 1'
                return rate(settings, process, query, (), len(events))
        finally:
            connection.execute(f'drop table "{table}"')


def rate(
    settings: Settings,
    process: subprocess.Popen[bytes],
    query: str,
    given: tuple[str, ...],
    count: int,
) -> float:
    """Rows a second between the first and the last commit, the first one's rows left out."""
    with closing(connect(settings, "scorer", USE_CASE)) as connection:

        def commits() -> list[tuple[Any, int]]:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args} ended with exit code {process.returncode}")
            found = connection.execute(query, given).fetchall()
            return found if sum(rows for _, rows in found) == count else []

        found = until(commits, f"{count} rows", pause=0.5)
    (begin, first), (end, _) = found[0], found[-1]
    return float((count - first) / (end - begin).total_seconds())


def latencies(
    settings: Settings, pipeline: Pipeline, events: list[tuple[str, bytes]], per_second: float
) -> Any:
    """Milliseconds from produce() to the answer's own timestamp, at a steady rate, once warm."""
    topic = fresh_topic(settings)
    scored = pipeline.topics.scored
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "bench",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    partitions = consumer.list_topics(scored, timeout=10).topics[scored].partitions
    ends = [
        TopicPartition(
            scored, n, consumer.get_watermark_offsets(TopicPartition(scored, n), timeout=10)[1]
        )
        for n in partitions
    ]
    consumer.assign(ends)
    at_ms: dict[str, float] = {}
    with worker(["-m", "streaming.app", USE_CASE, "--topic", topic]):
        producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 1, "log_level": 0})
        begin, step = time.perf_counter(), max(1, int(per_second / 200))
        for start in range(0, len(events), step):
            ahead = start / per_second - (time.perf_counter() - begin)
            if ahead > 0:
                time.sleep(ahead)
            for name, value in events[start : start + step]:
                at_ms[name] = time.time() * 1000
                producer.produce(topic, value, name)
            producer.poll(0)
        producer.flush()
        took: dict[str, float] = {}
        decode = msgspec.json.Decoder().decode

        def read() -> bool:
            for message in consumer.consume(10_000, 0.5):
                name = decode(message.value())["event_id"]
                took[name] = message.timestamp()[1] - at_ms.get(name, math.nan)
            return len(took) >= len(at_ms)

        until(read, "every event is answered")
    consumer.close()
    warm = list(at_ms)[len(at_ms) // 5 :]
    return np.array([took[name] for name in warm])


@contextmanager
def worker(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A subject on a core of its own, until it is ready; stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lockstep = "streaming.app" in command
    flags = ["--port", str(port)] if lockstep else [str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {WORKER_CORE}),
    )
    try:
        if lockstep:
            until(lambda: process.poll() is not None or ready(port), "the worker is ready")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def fresh_topic(settings: Settings) -> str:
    topic = f"bench.{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
        future.result()
    return topic


def fill(settings: Settings, topic: str, events: list[tuple[str, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 20, "log_level": 0})
    for name, value in events:
        while True:
            try:
                producer.produce(topic, value, name)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def until(condition: Callable[[], Any], what: str, pause: float = 0.05) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {LIMIT_S} s still not: {what}")
        time.sleep(pause)
    return result


if __name__ == "__main__":
    main()
