"""One test's own topics and worker processes, over the session's real services."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from lockstep.kafka import clients
from lockstep.local.home import free_port
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from tests.streaming.proxy import Proxy
from tests.until import LIMIT_S, until

REPOSITORY = Path(__file__).parents[2]
PARTITIONS = 2


class Worker:
    """A worker process. `main` is the module it runs, streaming.app unless a test wraps it."""

    def __init__(self, deployment: Deployment, *flags: str, main: str = "streaming.app") -> None:
        self.port = free_port()
        self.log = deployment.folder / f"worker-{uuid.uuid4().hex[:6]}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", main, deployment.use_case, "--port", str(self.port), *flags],
                cwd=deployment.folder,
                env=deployment.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _answer(self, name: str) -> tuple[int, str] | None:
        """HTTP status and text of a page; None where none comes in time, as is nobody's fault."""
        try:
            address = f"http://127.0.0.1:{self.port}/{name}"
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    return int(answer.status), answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
        except (OSError, HTTPException):
            return None

    def page(self, name: str) -> dict[str, Any]:
        """What `health` or `ready` says; empty where no answer comes in time."""
        answer = self._answer(name)
        return dict(json.loads(answer[1])) if answer else {}

    def code(self, name: str) -> int | None:
        """With which HTTP status a page answers; None where no answer comes in time."""
        answer = self._answer(name)
        return answer and answer[0]

    def condition(self, name: str) -> str:
        """What its page says of a condition, "ok" where it holds; empty without an answer."""
        return str(self.page("health").get("conditions", {}).get(name, ""))

    def serves(self, what: str) -> Any:
        """What its page says of the model that serves; None without an answer."""
        return self.page("health").get("serving", {}).get(what)

    def metrics(self) -> dict[str, float]:
        """By name, with labels; empty where no answer comes in time."""
        lines = (self._answer("metrics") or (0, ""))[1].splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def ready(self) -> Worker:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            return bool(self.page("ready").get("ready"))

        until(is_ready, "the worker is ready")
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def told(self) -> str:
        """For whoever looks at a failed test: what it logged and, where it still lives, what it
        says of itself and what its threads are at. It ends with that.
        """
        health = ""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            health = f"health: {self.page('health')}\n"
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
        return f"{self.log.name}\n{health}{self.log.read_text()[-12_000:]}"

    def drain(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def end(self) -> tuple[int, str]:
        """Wait for it to end by itself: exit code and log."""
        return self.process.wait(LIMIT_S), self.log.read_text()


class Deployment:
    """Topics of its own, and a folder with nothing of models/ but pipeline.toml."""

    def __init__(
        self,
        settings: Settings,
        environment: dict[str, str],
        folder: Path,
        use_case: str = "flight_delay",
        brokers: Sequence[int] = (),
    ) -> None:
        """`brokers`: which one is to have each partition of events, answers and state."""
        self.settings, self.folder, self.use_case = settings, folder, use_case
        self._placed = {"replica_assignment": [[broker] for broker in brokers]} if brokers else {}
        name = f"t{uuid.uuid4().hex[:8]}"
        self.events, self.scored = f"{name}.events", f"{name}.scored"
        self.dead_letters, self.control = f"{name}.dead_letters", f"{name}.control"
        self.arrivals = f"{name}.arrivals"
        pipeline = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
        pipeline = pipeline.replace('"flight_delay.', f'"{name}.')
        pipeline = pipeline.replace('use_case = "flight_delay"', f'use_case = "{use_case}"')
        home = folder / "models" / use_case
        home.mkdir(parents=True)
        (home / "pipeline.toml").write_text(pipeline)
        self.environment = {
            **environment,
            "PYTHONPATH": str(REPOSITORY),
            # SIGABRT then tells what each thread is at.
            "PYTHONFAULTHANDLER": "1",
        }
        self.workers: list[Worker] = []
        self.admin = clients.admin(settings.kafka, "tests")
        self.create_topics()

    def create_topics(self) -> None:
        stamped = {"message.timestamp.type": "CreateTime"}
        topics = [
            NewTopic(t, PARTITIONS, **(self._placed or {"replication_factor": 1}), config=stamped)
            for t in (self.events, self.scored, self.arrivals)
        ]
        topics += [
            NewTopic(self.dead_letters, 1, 1, config={"max.message.bytes": "4194304"}),
            NewTopic(self.control, 1, 1),
        ]
        self.create(topics)

    def create(self, topics: Sequence[NewTopic]) -> None:
        """Create topics, and wait until the broker that clients ask knows who leads them."""
        for future in self.admin.create_topics(topics, request_timeout=LIMIT_S).values():
            future.result()

        def known() -> bool:
            found = self._topics() or {}
            return all(
                topic.topic in found
                and len(found[topic.topic].partitions) == topic.num_partitions
                and all(each.leader >= 0 for each in found[topic.topic].partitions.values())
                for topic in topics
            )

        until(known, "the new topics have leaders")

    def _topics(self) -> Mapping[str, Any] | None:
        """What the broker knows of its topics; None where it does not answer in time."""
        try:
            return self.admin.list_topics(timeout=5).topics
        except KafkaException:
            return None

    def delete(self, topic: str) -> None:
        """Delete a topic, and wait until the broker that clients ask has forgotten it."""
        [future] = self.admin.delete_topics([topic], request_timeout=LIMIT_S).values()
        future.result()
        until(lambda: (t := self._topics()) is not None and topic not in t, f"{topic} is gone")

    def recreate_events_topic(self) -> None:
        self.delete(self.events)
        self.create([NewTopic(self.events, PARTITIONS, 1)])

    def limit_batches(self, events: int) -> None:
        """Smaller micro-batches, so that there is a middle to be killed in."""
        self.edit_pipeline("max_batch = 2048", f"max_batch = {events}")

    def edit_pipeline(self, old: str, new: str) -> None:
        path = self.folder / "models" / self.use_case / "pipeline.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.load(self.use_case, self.folder / "models")

    def worker(self, *flags: str, main: str = "streaming.app") -> Worker:
        worker = Worker(self, *flags, main=main)
        self.workers.append(worker)
        return worker

    def send(
        self, values: Iterable[tuple[str, bytes | None]], *, timestamp_ms: int | None = None
    ) -> None:
        """Send (key, value) and wait until Kafka has them.

        Each event becomes readable at `timestamp_ms`, or when it happened, as when recorded ones
        are replayed.
        """
        refused: list[Any] = []
        producer = Producer(
            {
                "bootstrap.servers": self.settings.kafka,
                "message.max.bytes": 4_000_000,
                "log_level": 0,
                "on_delivery": lambda error, _: refused.append(error) if error else None,
            }
        )
        for key, value in values:
            stamp = _happened_ms(value) if timestamp_ms is None else timestamp_ms
            producer.produce(self.events, value, key, timestamp=stamp)
        producer.flush()
        assert not refused, refused[:3]

    def read(self, topic: str) -> list[Any]:
        """Every record of a topic, as confluent_kafka Messages."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka,
                "group.id": "tests",
                "enable.auto.commit": False,
                "fetch.message.max.bytes": 8_000_000,
            }
        )
        partitions = consumer.list_topics(topic, timeout=LIMIT_S).topics[topic].partitions
        total = 0
        for number in partitions:
            place = TopicPartition(topic, number)
            _, end = consumer.get_watermark_offsets(place, timeout=LIMIT_S)
            total += end
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages: list[Any] = []
        while len(messages) < total:
            messages += [m for m in consumer.consume(1000, 0.2) if m.error() is None]
        consumer.close()
        return messages

    def answers(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(message.value()) for message in self.read(self.scored)]

    def letters(self) -> list[Any]:
        return self.read(self.dead_letters)

    def rows(self) -> list[tuple[Any, ...]]:
        """(event_id, score, margin, partition, offset, version, digest) in order of id."""
        with closing(connect(self.settings, "analyst", self.use_case)) as connection:
            # Binary: floats arrive with their bits, not as decimal text.
            return (
                connection.cursor(binary=True)
                .execute(
                    "select event_id, score, margin, kafka_partition, kafka_offset,"
                    " model_version, model_digest from predictions"
                    " where source = 'stream' and topic = %s order by event_id",
                    (self.events,),
                )
                .fetchall()
            )

    def offsets(self) -> list[tuple[int, int, int]]:
        """(partition, next_offset, produced_offset) as the ledger has them."""
        with closing(connect(self.settings, "scorer", self.use_case)) as connection:
            return connection.execute(
                "select kafka_partition, next_offset, produced_offset from stream_offsets"
                " join streams using (stream_id) where topic = %s order by 1",
                (self.events,),
            ).fetchall()

    def settled(self) -> int:
        """How many events the ledger has behind it."""
        return sum(next_offset for _, next_offset, _ in self.offsets())

    def stop(self) -> None:
        for worker in self.workers:
            # Shown with a test that failed.
            print(worker.told())


def kill_midway(deployment: Deployment, settled: int, *, before: str) -> None:
    """Kill a worker at whatever point it is, once so many events are settled.

    However late that is noticed: it never gets its warehouse to hear of the event `before`, and
    waits there.
    """
    environment = deployment.environment
    with Proxy.of(deployment.settings.url("scorer")) as proxy:
        deployment.environment = {**environment, "LOCKSTEP_SCORER_URL": proxy.url}
        proxy.at(before.encode(), proxy.freeze)
        worker = deployment.worker()
        until(lambda: deployment.settled() > settled, "some events are settled")
        worker.kill()
    deployment.environment = environment


def _happened_ms(value: bytes | None) -> int:
    """An event's time; now for what is no event. Rounded up: it did not happen after its record."""
    found = re.search(rb'"departed_at":\s*(\d{1,18})[,}]', value or b"")
    return -(-int(found[1]) // 1000) if found else int(time.time() * 1000)


def environment_of(settings: Settings) -> dict[str, str]:
    """The LOCKSTEP_* variables that give a subprocess these settings."""
    given = {"LOCKSTEP_HOME": str(settings.home), "LOCKSTEP_KAFKA": settings.kafka}
    given |= {"LOCKSTEP_MLFLOW": settings.mlflow, "LOCKSTEP_LAKE": settings.lake}
    given["LOCKSTEP_SCORER_URL"] = settings.url("scorer")
    return {**os.environ, **given}
