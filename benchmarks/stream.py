"""The streaming worker beside a stock Faust agent: events a second on one core, and latency.

    python -m benchmarks.stream [--quick] [--json FILE]

Needs a running stack with an approved model of flight_delay (`make demo`).

end_to_end   events/s of recorded flights that waited: each subject reads topics that were filled
             before it started, is pinned to one core, and is timed between the commits of its
             first and its last micro-batch, so that starting up does not count:
             lockstep              windows from the state topics, trees in the kernel it chooses
             lockstep_onnxruntime  the same with LOCKSTEP_TREE_KERNEL=onnxruntime
             faust_take            an agent with take(1000); it computes no windows
p50_ms_R     milliseconds from sending an event to its answer's timestamp, at R events a second,
p99_ms_R     their state sent along as it happened

--quick takes a month once; without it, three months, three times.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from typing import Any

import msgspec
from confluent_kafka.admin import NewTopic

from benchmarks.borrowed import Borrowed, borrowed
from benchmarks.report import Report, arguments
from lockstep.exits import ended
from lockstep.kafka import clients
from lockstep.kafka.topics import create_topics, topics_of
from lockstep.local.home import free_port
from lockstep.local.loopback import http_missing
from lockstep.pipeline import Pipeline
from lockstep.registry.approved import approved_model
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect, group
from streaming.replay import progress_bar, recorded, replay, ship

USE_CASE = "flight_delay"
KERNELS = {"lockstep": "auto", "lockstep_onnxruntime": "onnxruntime"}
LAST_DAY = date(2013, 11, 30)
RATES = {200: date(2013, 11, 30), 2000: date(2013, 11, 15)}
"""Events a second -> the day that a replay at that rate begins with."""
PARTITIONS = 4
WORKER_CORE = (os.cpu_count() or 1) - 1
LIMIT_S = 300


def main() -> None:
    given = arguments(__doc__ or "")
    settings = Settings.load()
    Pipeline.load(USE_CASE)
    with closing(connect(settings, "scorer", USE_CASE)) as connection:
        _, model = approved_model(settings, USE_CASE, connection)
    first = date(2013, 11, 1) if given.quick else date(2013, 9, 1)
    report = Report("stream")
    with borrowed(settings, USE_CASE) as own:
        for _ in range(1 if given.quick else 3):
            for subject, kernel in KERNELS.items():
                found = lockstep_rate(settings, own, model, first, kernel)
                report.add("end_to_end", subject, [found], "events/s", "faust_take")
            found = faust_rate(settings, own, model)
            report.add("end_to_end", "faust_take", [found], "events/s")
        for rate, day in RATES.items():
            p50, p99 = latencies(settings, own, day, rate)
            report.add(f"p50_ms_{rate}", "lockstep", [p50], "ms")
            report.add(f"p99_ms_{rate}", "lockstep", [p99], "ms")
    report.publish(given.json)


def lockstep_rate(settings: Settings, own: Borrowed, model: Any, first: date, kernel: str) -> float:
    """Events a second through `python -m streaming.app`."""
    topic = own.fresh()
    deployed = own.pipeline.on(topic)
    records = recorded(settings.lake, deployed, model.windows, first, LAST_DAY)
    ship(
        settings.kafka,
        deployed,
        model.windows,
        records,
        rate=None,
        backlog=True,
        bar=progress_bar(False),
    )
    with worker(own, ["-m", "streaming.app", USE_CASE, "--topic", topic], kernel) as process:
        query = (
            "select scored_at, count(*) from predictions_stream"
            " join streams using (stream_id) where topic = %s group by 1 order by 1"
        )
        total = sum(record.scored for record in records)
        return rows_a_second(settings, process, query, (topic,), total)


def faust_rate(settings: Settings, own: Borrowed, model: Any) -> float:
    """Events a second through benchmarks/faust_take.py."""
    topic, answers = fresh_topic(settings, own), fresh_topic(settings, own)
    deployed = own.pipeline.on(topic)
    records = recorded(settings.lake, deployed, model.windows, date(2013, 11, 28), LAST_DAY)
    events = [(record.key, record.value) for record in records if record.scored]
    fill(settings, topic, events)
    file = settings.home / "models" / f"{model.digest}.onnx"
    table = topic.replace(".", "_").replace("-", "_")
    # Nobody but the owner creates a table there.
    with closing(connect(settings, "owner", USE_CASE)) as connection:
        connection.execute(
            f'create table "{table}" (event_id text primary key, event_time timestamptz,'
            " entity text, score real, margin real, scored_at timestamptz);"
            f' grant select, insert on "{table}" to "{group(USE_CASE, "scorer")}"'
        )
        try:
            command = ["-m", "benchmarks.faust_take", str(file), topic, answers, table]
            with worker(own, command, "auto") as process:
                query = f'select scored_at, count(*) from "{table}" group by 1 order by 1'
                return rows_a_second(settings, process, query, (), len(events))
        finally:
            connection.execute(f'drop table "{table}"')


def rows_a_second(
    settings: Settings,
    process: subprocess.Popen[bytes],
    query: str,
    given: tuple[str, ...],
    count: int,
) -> float:
    """Between the first and the last commit, the first one's rows left out."""
    with closing(connect(settings, "scorer", USE_CASE)) as connection:

        def commits() -> list[tuple[Any, int]]:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args} ended with exit code {process.returncode}")
            found = connection.execute(query, given).fetchall()
            return found if sum(rows for _, rows in found) == count else []

        found = until(commits, f"{count} rows", pause=0.5)
    (begin, first), (end, _) = found[0], found[-1]
    return float((count - first) / (end - begin).total_seconds())


def latencies(settings: Settings, own: Borrowed, first: date, rate: float) -> tuple[float, float]:
    """Median and 99th percentile, as `lockstep replay` has them."""
    topic = own.fresh()
    create_topics(settings.kafka, topics_of(own.pipeline.on(topic)))
    with worker(own, ["-m", "streaming.app", USE_CASE, "--topic", topic], "auto"):
        answers = replay(settings, own.pipeline, first, LAST_DAY, rate=rate, topic=topic).answers
        assert answers is not None
        return answers.p50_ms, answers.p99_ms


@contextmanager
def worker(own: Borrowed, command: list[str], kernel: str) -> Iterator[subprocess.Popen[bytes]]:
    """A subject on a core of its own, until it is ready; stopped at the end."""
    port = free_port()
    lockstep = "streaming.app" in command
    flags = ["--port", str(port)] if lockstep else [str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, *flags],
        cwd=own.folder,
        env={**own.environment, "LOCKSTEP_TREE_KERNEL": kernel},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {WORKER_CORE}),
    )
    try:
        if lockstep:
            page = f"http://127.0.0.1:{port}/ready"
            until(
                lambda: process.poll() is not None or http_missing(page) is None,
                "the worker is ready",
            )
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def fresh_topic(settings: Settings, own: Borrowed) -> str:
    topic = own.fresh()
    admin = clients.admin(settings.kafka, "bench")
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
        future.result()
    return topic


def fill(settings: Settings, topic: str, events: list[tuple[str, bytes]]) -> None:
    producer = clients.producer(settings.kafka, "bench", {"linger.ms": 20})
    for name, value in events:
        while True:
            try:
                producer.produce(topic, value, name, timestamp=happened_ms(value))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def happened_ms(value: bytes) -> int:
    """The time of an event: it becomes readable when it happened, as in a replay."""
    return -(-int(msgspec.json.decode(value)["departed_at"]) // 1000)


def until(condition: Callable[[], Any], what: str, pause: float = 0.05) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {LIMIT_S} s still not: {what}")
        time.sleep(pause)
    return result


if __name__ == "__main__":
    sys.exit(ended(main))
