"""The stream's ledger against a real Postgres: fencing, copies, and what a successor must do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

from lockstep.errors import Fenced, OffsetsLost
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Ledger, answered
from lockstep.warehouse.micro_batch import Claim, MicroBatch, Span
from lockstep.warehouse.partitions import ensure_stream_day
from tests.house import evidence

DAY = date(2013, 10, 1)
DAY_US = 1_380_585_600_000_000
UUID = "topic-id-1"


@pytest.fixture(scope="module")
def settings(warehouse_settings: Settings) -> Settings:
    migrate.upgrade(warehouse_settings, "ledger_test")
    with closing(connect(warehouse_settings, "releaser", "ledger_test")) as connection:
        connection.execute(
            "insert into approvals (sequence, model_version, digest, reason, evidence)"
            " values (1, 7, %s, 'a test', %s)",
            ("ab" * 32, Jsonb(evidence("ab" * 32))),
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


def test_a_trial_says_what_a_write_would_and_leaves_nothing(worker, rows) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    batch = batch_of(claim, ["a", "b", "a"])
    assert ledger.write(batch, trial=True) == 1
    assert rows() == []
    assert ledger.claim(0, 0, 100).next_offset == 0
    with pytest.raises(Fenced):
        ledger.write(batch, trial=True)


@pytest.fixture
def stored(settings: Settings, topic: str) -> Iterator[Callable[[str], list[tuple]]]:
    """Runs a query of the scorer's about this topic's stream."""
    with closing(connect(settings, "scorer", "ledger_test")) as connection:
        yield lambda query: connection.execute(
            query + " join streams t using (stream_id) where t.topic = %s order by 1, 2", (topic,)
        ).fetchall()


def test_window_values_keep_their_bits_row_by_row(worker, stored) -> None:
    ledger = worker()
    bits = np.array(
        [[0x3DCCCCCD, 0x7FC00000, 0x80000000], [0x00000001, 0x7F7FFFFF, 0xFF800000]], np.uint32
    )
    batch = batch_of(ledger.claim(0, 0, 100), ["a", "b"])
    ledger.write(replace(batch, windows=bits.view(np.float32)))
    rows = stored("select event_id, window_values, array_lower(window_values, 1), incomplete from"
                  " predictions_stream")  # fmt: skip
    assert [(name, *more) for name, _, *more in rows] == [("a", 1, False), ("b", 1, False)]
    found = np.array([values for _, values, *_ in rows], np.float32).view(np.uint32)
    assert found.tolist() == bits.tolist()


def test_a_model_without_windows_stores_none(worker, stored) -> None:
    ledger = worker()
    claim = ledger.claim(0, 0, 100)
    ledger.write(batch_of(claim, ["a"]))
    ledger.write(replace(batch_of(claim, ["b"], first=1), windows=np.empty((1, 0), np.float32)))
    values = stored("select event_id, window_values from predictions_stream")
    assert values == [("a", None), ("b", None)]
    assert stored("select first_offset, cut from stream_batches") == []


def test_the_cut_is_kept_for_each_stretch(worker, stored) -> None:
    ledger = worker()
    left, right = ledger.claim(0, 0, 100), ledger.claim(1, 5, 100)
    both = replace(
        batch_of(left, ["a", "b", "c"]),
        spans=[Span(0, 0, 2, left.epoch), Span(1, 5, 6, right.epoch)],
        partitions=np.array([0, 0, 1], np.int32),
        offsets=np.array([0, 1, 5], np.int64),
        windows=np.ones((3, 1), np.float32),
        cut={"arrivals": np.array([7, 9]), "events": [2, 6]},
        incomplete=np.array([False, True, False]),
    )
    ledger.write(both)
    cut = {"arrivals": [7, 9], "events": [2, 6]}
    batches = "select kafka_partition, first_offset, next_offset, epoch, cut, incomplete"
    assert stored(batches + " from stream_batches") == [
        (0, 0, 2, left.epoch, cut, True),
        (1, 5, 6, right.epoch, cut, True),
    ]
    # What leads a row to its cut: the stretch that its offset lies in, of the same transaction.
    led = stored(
        "select event_id, b.first_offset, p.incomplete from predictions_stream p"
        " join stream_batches b using (stream_id, kafka_partition)"
    )
    assert led == [("a", 0, False), ("b", 0, True), ("c", 5, False)]
    moments = stored("select distinct scored_at = committed_at, 0 from predictions_stream p"
                     " join stream_batches b using (stream_id, kafka_partition)")  # fmt: skip
    assert moments == [(True, 0)]
    # Whoever answers from the table says so as well.
    answers = [*ledger.stored(both), *worker().unanswered(left_unanswered(left))]
    assert {a.event_id: a.incomplete for a in answers} == {"a": False, "b": True, "c": False}


def left_unanswered(claim: Claim) -> Claim:
    """As a successor finds the partition whose owner was killed before it answered."""
    return replace(claim, next_offset=2, produced_offset=0)


def test_a_former_owner_stores_no_cut(worker, stored) -> None:
    zombie = worker()
    old = zombie.claim(0, 0, 100)
    worker().claim(0, 0, 100)
    with pytest.raises(Fenced):
        zombie.write(replace(batch_of(old, ["a"]), cut={"events": [1]}))
    assert stored("select first_offset, cut from stream_batches") == []


def test_offsets_that_begin_again_leave_the_older_cuts(worker, stored) -> None:
    """After an accepted loss the same offset exists twice; the epochs tell them apart."""
    first = worker()
    first.write(replace(batch_of(first.claim(0, 0, 100), ["a"]), cut={"events": [1]}))
    second = worker()
    again = second.claim(0, 0, 0, accept_loss=True)
    second.write(replace(batch_of(again, ["b"]), cut={"events": [2]}))
    assert stored("select epoch, cut from stream_batches") == [
        (1, {"events": [1]}),
        (again.epoch, {"events": [2]}),
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


def test_who_sends_events_again_can_know_what_was_scored(worker, settings, topic) -> None:
    ledger = worker()
    ledger.write(batch_of(ledger.claim(0, 0, 100), ["a", "b"]))
    tomorrow = DAY + timedelta(days=1)
    with closing(connect(settings, "scorer", "ledger_test")) as connection:
        known = answered(connection, topic, DAY, DAY)
        assert known == {("a", DAY_US + 1), ("b", DAY_US + 1)}
        assert answered(connection, "another topic", DAY, DAY) == set()
        assert answered(connection, topic, tomorrow, tomorrow) == set()


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


def test_who_was_overtaken_can_be_found_out(worker) -> None:
    mine, other = worker(), worker()
    left, right = mine.claim(0, 0, 100), mine.claim(1, 0, 100)
    spans = [Span(claim.partition, 0, 1, claim.epoch) for claim in (left, right)]
    assert mine.overtaken(spans) == {}
    other.fence(1)
    assert mine.overtaken(spans) == {1: right.epoch}


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
