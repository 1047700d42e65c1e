"""What the writing half does with rows that the warehouse refuses, with partitions that were taken
over."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pytest
from confluent_kafka import TopicPartition

from lockstep.errors import Fenced, OffsetsLost
from lockstep.kafka import clients
from lockstep.kafka.reader import Reader
from lockstep.registry import approvals
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Ledger
from lockstep.warehouse.micro_batch import MicroBatch, Span
from streaming.outlet import Outlet
from streaming.room import Room, room_of
from streaming.sending import Sender
from streaming.service import ScoringService
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

    def __init__(
        self, deployment: Deployment, count: int, room: Room | None = None, *, partitions: int = 1
    ) -> None:
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
        claims = [self.ledger.claim(number, 0, count) for number in range(partitions)]
        self.spans = [Span(claim.partition, 0, count, claim.epoch) for claim in claims]
        self.span = self.spans[0]
        self.producer = clients.producer(settings.kafka, "tests")
        self.status = Status(deployment.use_case)
        room = room or room_of(reader, topics)
        self.outlet = Outlet(
            lambda: connect(settings, "scorer", deployment.use_case),
            open_ledger,
            Sender(self.producer, topics, room, self.status, threading.Event()),
            topics,
            room,
            self.status,
            threading.Event(),
        )
        self.outlet.epochs.update({claim.partition: claim.epoch for claim in claims})
        self.outlet.start(threading.Event())

    def batch(self, ids: Sequence[str], times: Sequence[int]) -> MicroBatch:
        rows, each = len(ids), self.span.next
        return MicroBatch(
            spans=self.spans,
            ids=list(ids),
            event_time=np.array(times, np.int64),
            entity=[""] * rows,
            score=np.full(rows, 0.5, np.float32),
            margin=np.zeros(rows, np.float32),
            partitions=(np.arange(rows) // each).astype(np.int32),
            offsets=np.arange(rows) % each,
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
    producer = clients.producer(deployment.settings.kafka, "tests")
    for number in range(count):
        producer.produce(deployment.events, f"event {number}".encode(), partition=0)
    producer.flush()
    consumer = clients.consumer(deployment.settings.kafka, "tests")
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
    with between(lambda passed: passed == 4 and bench.ledger.claim(0, 0, 10)) as writes:
        bench.write(bench.batch(ids, [_NOON] * 10))
    assert len(writes) >= 4
    assert deployment.rows() == []
    assert deployment.letters() == []
    assert deployment.settled() == 0
    assert bench.outlet.overtaken


@contextmanager
def between(happens: Callable[[int], object], *, after: bool = False) -> Iterator[list[int]]:
    """What happens before (or after) each write to the ledger, the first of them 1."""
    write, passed = Ledger.write, []

    def disturbed(self: Ledger, batch: MicroBatch, **more: Any) -> int:
        passed.append(len(passed) + 1)
        if not after:
            happens(len(passed))
        copies = write(self, batch, **more)
        if after:
            happens(len(passed))
        return copies

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "write", disturbed)
        yield passed


def test_a_partition_that_was_taken_over_is_left_to_its_new_owner(deployment: Deployment) -> None:
    """This worker has not been told yet: it goes on with what is still its own."""
    bench = Bench(deployment, 3, partitions=2)
    batch = bench.batch([f"{n}" for n in range(6)], [_NOON] * 6)
    with between(lambda passed: passed == 1 and bench.ledger.claim(1, 0, 3)):
        bench.write(batch)
    assert [row[0] for row in deployment.rows()] == ["0", "1", "2"]
    assert sorted(answer["event_id"] for answer in deployment.answers()) == ["0", "1", "2"]
    assert deployment.offsets() == [(0, 3, 3), (1, 0, 0)]
    assert bench.outlet.overtaken


def test_a_commit_whose_answer_was_lost_is_answered_though_a_part_was_taken_over(
    deployment: Deployment,
) -> None:
    bench = Bench(deployment, 3, partitions=2)

    def lost(passed: int) -> None:
        if passed == 1:
            bench.ledger.claim(1, 0, 3)
            raise psycopg.OperationalError("the connection broke")

    with between(lost, after=True):
        bench.write(bench.batch([f"{n}" for n in range(6)], [_NOON] * 6))
    assert len(deployment.rows()) == 6
    # The others are answered by their new owner, who found them unanswered.
    assert sorted(answer["event_id"] for answer in deployment.answers()) == ["0", "1", "2"]
    assert deployment.offsets() == [(0, 3, 3), (1, 3, 0)]


def test_an_offset_that_nobody_explains_ends_the_worker(deployment: Deployment) -> None:
    """Under its own epoch, and neither where it was nor where this micro-batch leads."""
    bench = Bench(deployment, 3)
    bench.ledger.write(replace(bench.batch([], []), spans=[replace(bench.span, next=2)]))
    with pytest.raises(Fenced, match="are still at"):
        bench.write(bench.batch(["a", "b", "c"], [_NOON] * 3))
    assert deployment.rows() == []


def test_an_answer_that_its_topic_does_not_take_is_not_promised(deployment: Deployment) -> None:
    """Before it is written: what is written must be answered."""
    bench = Bench(deployment, 2, Room(scored=8_192, dead_letters=8_192))
    bench.write(bench.batch(["short", "x" * 2_000], [_NOON] * 2))
    assert [row[0] for row in deployment.rows()] == ["short"]
    assert [answer["event_id"] for answer in deployment.answers()] == ["short"]
    assert "its answer may be larger" in bench.buried()[1]


def test_who_accepted_a_loss_takes_nothing_back_from_its_successor(deployment: Deployment) -> None:
    """The topic was recreated once more, and the successor has scored of it; then the connection
    of this worker breaks.
    """
    service = ScoringService(deployment.settings, deployment.pipeline, accept_loss=True)
    _, outlet, _ = service._started()
    with connect(deployment.settings, "scorer", deployment.use_case) as connection:
        ledger = Ledger(connection, deployment.events)
        ledger.open("of a later topic", accept_loss=True)
        claim = ledger.claim(0, 0, 3)
        assert outlet._connection is not None
        outlet._connection.close()
        outlet._connection = outlet._ledger = None
        ledger.write(_nothing([Span(0, 0, 3, claim.epoch)]))
    try:
        with pytest.raises(OffsetsLost), outlet._reconnecting():
            pass
        assert deployment.settled() == 3
    finally:
        service.stop()
        outlet.close()
        service.models.join()


def _nothing(spans: Sequence[Span]) -> MicroBatch:
    none = np.empty(0, np.int64)
    return MicroBatch(spans, [], none, [], none, none, none, none, approval=0)


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
