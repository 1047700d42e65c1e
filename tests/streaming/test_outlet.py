"""Rows that the warehouse refuses are found and buried; their neighbours are written."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from lockstep.kafka.reader import Reader
from lockstep.registry import approvals
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Ledger, MicroBatch, Span
from streaming.outlet import Outlet
from streaming.room import Room, room_of
from streaming.status import Status
from streaming.topics import events_topic
from streaming.work import Work
from tests.streaming.deployment import Deployment
from tests.streaming.nasty import about

_NOON = int(datetime(2013, 10, 1, 12, tzinfo=UTC).timestamp() * 1e6)
LONG = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=3_500))
"""More than a page of an index holds, however it is compressed."""
REFUSED = {
    "an id that no index takes": (LONG, _NOON),
    "a NUL in an id": ("a\0b", _NOON),
    "half a surrogate pair": ("\ud800", _NOON),
    "before all calendars": ("early", -(2**63)),
    "after all calendars": ("late", 2**63 - 1),
    "the year 10000": ("y10k", 253_402_300_800_000_000),
}


class Bench:
    """An outlet over real services, and the events of one partition in its hands."""

    def __init__(self, deployment: Deployment, count: int, room: Room | None = None) -> None:
        self.deployment, settings = deployment, deployment.settings
        topics = deployment.pipeline.topics
        self.messages = _events(deployment, count)
        reader = Reader(settings.kafka)
        self.topic_id = events_topic(reader, topics).id
        self.connection = connect(settings, "scorer", deployment.use_case)
        approval = approvals.current(self.connection)
        assert approval is not None
        self.approval = approval

        def open_ledger(connection: psycopg.Connection[Any]) -> Ledger:
            ledger = Ledger(connection, topics.events)
            ledger.open(self.topic_id)
            return ledger

        self.ledger = open_ledger(self.connection)
        claim = self.ledger.claim(0, 0, count)
        self.span = Span(0, 0, count, claim.epoch)
        self.producer = Producer({"bootstrap.servers": settings.kafka, "log_level": 0})
        self.status = Status(deployment.use_case)
        self.outlet = Outlet(
            lambda: connect(settings, "scorer", deployment.use_case),
            open_ledger,
            self.producer,
            topics,
            room or room_of(reader, topics),
            self.status,
            threading.Event(),
        )
        self.outlet.epochs[0] = claim.epoch
        self.outlet.start(threading.Event())

    def batch(self, ids: Sequence[str], times: Sequence[int]) -> MicroBatch:
        rows = len(ids)
        return MicroBatch(
            spans=[self.span],
            ids=list(ids),
            event_time=np.array(times, np.int64),
            entity=[""] * rows,
            score=np.full(rows, 0.5, np.float32),
            margin=np.zeros(rows, np.float32),
            partitions=np.zeros(rows, np.int32),
            offsets=np.arange(rows),
            approval=self.approval.sequence,
        )

    def write(self, batch: MicroBatch) -> None:
        serving: Any = SimpleNamespace(
            version=self.approval.model_version, digest=self.approval.digest
        )
        self.outlet.put(Work(batch, self.messages, serving, [], 0.0))
        self.outlet.close()
        self.producer.flush()

    def buried(self) -> dict[int, str]:
        """Offset -> reason."""
        letters = [about(letter) for letter in self.deployment.letters()]
        assert len({letter["offset"] for letter in letters}) == len(letters)
        return {int(letter["offset"]): letter["reason"] for letter in letters}


def _events(deployment: Deployment, count: int) -> list[Any]:
    producer = Producer({"bootstrap.servers": deployment.settings.kafka, "log_level": 0})
    for number in range(count):
        producer.produce(deployment.events, f"event {number}".encode(), partition=0)
    producer.flush()
    consumer = Consumer({"bootstrap.servers": deployment.settings.kafka, "group.id": "tests"})
    consumer.assign([TopicPartition(deployment.events, 0, 0)])
    found: list[Any] = []
    while len(found) < count:
        found += [m for m in consumer.consume(count, 0.2) if m.error() is None]
    consumer.close()
    return found


def test_rows_that_the_warehouse_refuses_are_buried_and_the_others_are_written(
    deployment: Deployment,
) -> None:
    ids = [f"good-{number}" for number in range(100)]
    times = [_NOON + number for number in range(100)]
    for place, (event_id, time) in zip((0, 17, 18, 50, 98, 99), REFUSED.values(), strict=True):
        ids[place], times[place] = event_id, time
    bench = Bench(deployment, 100)
    batch = bench.batch(ids, times)
    # The control: written as it is, none of it is there.
    with pytest.raises((psycopg.Error, ValueError, ArithmeticError)):
        bench.ledger.write(batch)
    assert deployment.settled() == 0
    bench.write(batch)

    good = sorted(event_id for event_id in ids if event_id.startswith("good-"))
    assert [row[0] for row in deployment.rows()] == good
    assert sorted(answer["event_id"] for answer in deployment.answers()) == good
    assert deployment.offsets()[0] == (0, 100, 100)
    reasons = bench.buried()
    assert set(reasons) == {0, 17, 18, 50, 98, 99}
    assert "index" in reasons[0]
    assert all(reason.startswith("the warehouse refuses it: ") for reason in reasons.values())


def test_a_batch_of_nothing_else_is_settled(deployment: Deployment) -> None:
    bench = Bench(deployment, 3)
    bench.write(bench.batch(["\0", "\0\0", "\0\0\0"], [_NOON] * 3))
    assert deployment.rows() == []
    assert deployment.offsets()[0] == (0, 3, 3)
    assert set(bench.buried()) == {0, 1, 2}


def test_nothing_is_written_under_an_older_epoch_while_rows_are_sought(
    deployment: Deployment,
) -> None:
    """Another worker takes the partition over: neither rows nor letters are this one's any more."""
    bench = Bench(deployment, 10)
    ids = [f"good-{number}" for number in range(9)] + [LONG]
    write = bench.outlet._committed
    passed = 0

    def taken_over(batch: MicroBatch, **more: Any) -> int:
        nonlocal passed
        passed += 1
        if passed == 4:
            bench.ledger.claim(0, 0, 10)
        return write(batch, **more)

    bench.outlet._committed = taken_over  # type: ignore[method-assign]
    bench.outlet.epochs[0] = bench.span.epoch
    with pytest.raises(Exception, match="another worker owns a partition"):
        bench.write(bench.batch(ids, [_NOON] * 10))
    assert passed >= 4
    assert deployment.rows() == []
    assert deployment.settled() == 0


def test_an_answer_that_its_topic_does_not_take_is_not_promised(deployment: Deployment) -> None:
    """Before it is written: what is written must be answered."""
    bench = Bench(deployment, 2, Room(scored=8_192, dead_letters=8_192))
    bench.write(bench.batch(["short", "x" * 2_000], [_NOON] * 2))
    assert [row[0] for row in deployment.rows()] == ["short"]
    assert [answer["event_id"] for answer in deployment.answers()] == ["short"]
    assert "its answer may be larger" in bench.buried()[1]


def test_a_part_of_a_micro_batch_is_a_micro_batch() -> None:
    whole = MicroBatch(
        spans=[Span(0, 0, 3, 1)],
        ids=["a", "b", "c"],
        event_time=np.arange(3),
        entity=["x", "", "z"],
        score=np.arange(3, dtype=np.float32),
        margin=np.arange(3, dtype=np.float32),
        partitions=np.zeros(3, np.int32),
        offsets=np.arange(3),
        approval=1,
        windows=np.arange(6, dtype=np.float32).reshape(3, 2),
        incomplete=np.array([True, False, True]),
        cut={"t": [1]},
    )
    part = whole.only(np.array([0, 2]))
    assert part.ids == ["a", "c"]
    assert part.entity == ["x", "z"]
    assert part.windows.tolist() == [[0, 1], [4, 5]]
    assert part.incomplete.tolist() == [True, True]
    assert (part.spans, part.cut) == (whole.spans, whole.cut)
    assert replace(whole.only(np.array([True, False, True])), ids=[]).offsets.tolist() == [0, 2]
