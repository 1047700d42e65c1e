"""The stream's ledger against a real Postgres: fencing, copies, and what a successor must do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date

import numpy as np
import psycopg
import pytest

from lockstep.errors import Fenced, OffsetsLost
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Claim, Ledger, MicroBatch, Span
from lockstep.warehouse.partitions import ensure_stream_day

DAY = date(2013, 10, 1)
DAY_US = 1_380_585_600_000_000
UUID = "topic-id-1"


@pytest.fixture(scope="module")
def settings(warehouse_settings: Settings) -> Settings:
    migrate.upgrade(warehouse_settings, "ledger_test")
    with closing(connect(warehouse_settings, "releaser", "ledger_test")) as connection:
        connection.execute(
            "insert into approvals (sequence, model_version, digest, approver, reason)"
            " values (1, 7, %s, 'someone', 'a test')",
            ("ab" * 32,),
        )
        connection.commit()
    return warehouse_settings


@pytest.fixture
def topic() -> str:
    return f"events-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def worker(settings: Settings, topic: str) -> Iterator[Callable[[], Ledger]]:
    """Makes ledgers of one topic, each over a connection of its own, as two workers have."""
    connections = []

    def make() -> Ledger:
        connection = connect(settings, "scorer", "ledger_test")
        connections.append(connection)
        ensure_stream_day(connection, DAY)
        ledger = Ledger(connection, topic)
        ledger.open(UUID)
        return ledger

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def rows(settings: Settings, topic: str) -> Iterator[Callable[[], list[tuple]]]:
    """(event_id, score, margin, offset, version, digest) as an analyst reads them."""
    with closing(connect(settings, "analyst", "ledger_test")) as connection:
        connection.autocommit = True
        yield lambda: connection.execute(
            "select event_id, score, margin, kafka_offset, model_version, model_digest"
            " from predictions where topic = %s order by kafka_offset",
            (topic,),
        ).fetchall()


def batch_of(claim: Claim, ids: list[str], *, first: int | None = None, score: float = 0.25):
    """A micro-batch of one partition, an event an offset."""
    first = claim.next_offset if first is None else first
    count = len(ids)
    return MicroBatch(
        spans=[Span(claim.partition, first, first + count, claim.epoch)],
        ids=ids,
        event_time=np.full(count, DAY_US + 1, np.int64),
        entity=["N1", *[""] * (count - 1)][:count],
        score=np.full(count, score, np.float32),
        margin=np.full(count, np.float32(-1.1), np.float32),
        partitions=np.full(count, claim.partition, np.int32),
        offsets=np.arange(first, first + count, dtype=np.int64),
        approval=1,
    )


def test_a_row_keeps_its_bits_and_leads_to_model_and_offset(worker, rows) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    assert ledger.write(batch_of(claim, ["a", "b"], score=0.1)) == 0
    stored = [(name, np.float32(s), np.float32(m), *more) for name, s, m, *more in rows()]
    score, margin = np.float32(0.1), np.float32(-1.1)
    assert stored == [
        ("a", score, margin, 0, 7, "ab" * 32),
        ("b", score, margin, 1, 7, "ab" * 32),
    ]


def test_a_new_owner_continues_where_the_last_one_committed(worker) -> None:
    first = worker()
    first.write(batch_of(first.claim(0, 0, 100), ["a", "b", "c"]))
    claim = worker().claim(0, 0, 100)
    assert (claim.next_offset, claim.epoch, claim.produced_offset) == (3, 2, 0)


def test_a_former_owner_writes_nothing(worker, rows) -> None:
    zombie, successor = worker(), worker()
    old = zombie.claim(0, 0, 100)
    zombie.write(batch_of(old, ["a"]))
    new = successor.claim(0, 0, 100)
    with pytest.raises(Fenced, match="another worker owns"):
        zombie.write(batch_of(old, ["b"], first=1))
    successor.write(batch_of(new, ["b"]))
    with pytest.raises(Fenced):
        zombie.write(batch_of(old, ["b"], first=1))
    assert [row[0] for row in rows()] == ["a", "b"]


def test_one_fenced_partition_stops_the_whole_micro_batch(worker, rows) -> None:
    mine, other = worker(), worker()
    left, right = mine.claim(0, 0, 100), mine.claim(1, 0, 100)
    other.claim(1, 0, 100)
    both = batch_of(left, ["a", "b"])
    both = replace(
        both,
        spans=[Span(0, 0, 1, left.epoch), Span(1, 0, 1, right.epoch)],
        partitions=np.array([0, 1], np.int32),
        offsets=np.array([0, 0], np.int64),
    )
    with pytest.raises(Fenced):
        mine.write(both)
    assert rows() == []
    assert worker().claim(0, 0, 100).next_offset == 0


def test_a_copy_keeps_the_stored_score_and_is_answered_with_it(worker, rows) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    ledger.write(batch_of(claim, ["a"], score=0.25))
    copies = batch_of(claim, ["a", "b"], first=1, score=0.75)
    assert ledger.write(copies) == 1
    assert sorted((a.event_id, a.score) for a in ledger.stored(copies)) == [
        ("a", 0.25),
        ("b", 0.75),
    ]
    assert [row[:2] for row in rows()] == [("a", 0.25), ("b", 0.75)]


def test_a_successor_knows_which_answers_may_be_missing(worker) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    ledger.write(batch_of(claim, ["a", "b"]))
    ledger.write(replace(batch_of(claim, ["c", "d"], first=2), produced={0: 2}))
    successor = worker()
    again = successor.claim(0, 0, 100)
    assert again.produced_offset == 2
    answers = successor.unanswered(again)
    assert [(a.event_id, a.event_time, a.model_version) for a in answers] == [
        ("c", DAY_US + 1, 7),
        ("d", DAY_US + 1, 7),
    ]
    successor.acknowledge({0: 4}, {0: again.epoch})
    assert worker().claim(0, 0, 100).produced_offset == 4


def test_a_former_owner_acknowledges_nothing(worker) -> None:
    zombie = worker()
    old = zombie.claim(0, 0, 100)
    zombie.write(batch_of(old, ["a"]))
    worker().claim(0, 0, 100)
    zombie.acknowledge({0: 1}, {0: old.epoch})
    assert worker().claim(0, 0, 100).produced_offset == 0


def test_an_unknown_outcome_can_be_found_out(worker) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    batch = batch_of(claim, ["a"])
    assert not ledger.settled(batch.spans)
    ledger.write(batch)
    assert ledger.settled(batch.spans)


def test_only_dead_letters_still_advance_the_offset(worker, rows) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    ledger.write(_empty(claim, 5))
    assert worker().claim(0, 0, 100).next_offset == 5
    assert rows() == []


def _empty(claim: Claim, count: int) -> MicroBatch:
    nothing = batch_of(claim, [])
    return replace(nothing, spans=[Span(claim.partition, 0, count, claim.epoch)])


@pytest.mark.parametrize(("low", "high"), [(2, 100), (0, 0)], ids=["cut off", "shorter"])
def test_a_log_that_does_not_continue_is_refused(worker, low: int, high: int) -> None:
    first = worker()
    first.write(batch_of(first.claim(0, 0, 100), ["a"]))
    with pytest.raises(OffsetsLost, match="continues at 1") as raised:
        worker().claim(0, low, high)
    assert "--accept-loss" in str(raised.value)
    accepted = worker().claim(0, low, high, accept_loss=True)
    # The refused claim was rolled back with its epoch.
    assert (accepted.next_offset, accepted.epoch) == (low, 2)


def test_a_recreated_topic_is_refused(worker, settings: Settings, topic: str) -> None:
    first = worker()
    first.write(batch_of(first.claim(0, 0, 100), ["a"]))
    with closing(connect(settings, "scorer", "ledger_test")) as connection:
        again = Ledger(connection, topic)
        with pytest.raises(OffsetsLost, match="was recreated"):
            again.open("topic-id-2")
        again.open("topic-id-2", accept_loss=True)
        assert again.claim(0, 0, 100).next_offset == 0


def test_the_database_going_away_is_a_psycopg_error(worker, settings: Settings) -> None:
    """The outlet decides on it: reconnect, look whether it was settled, try again."""
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    ledger._connection.close()
    with pytest.raises((psycopg.OperationalError, psycopg.InterfaceError)):
        ledger.write(batch_of(claim, ["a"]))
