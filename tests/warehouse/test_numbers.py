"""Numbers that run out: which are drawn or counted, how far they go, and what uses them up."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from lockstep.errors import UsageError
from lockstep.warehouse.landings import Landed, Rejected, record
from lockstep.warehouse.ledger import Ledger
from lockstep.warehouse.micro_batch import MicroBatch, Span
from lockstep.warehouse.partitions import ensure_stream_day
from tests.house import DAY, House

SMALL = {
    ("approvals", "sequence"): "a person's decision each",
    ("approvals", "model_version"): "MLflow counts a use case's versions",
    ("publish_log", "approval"): "an approval's sequence",
    ("publish_log", "model_version"): "of an approval",
    ("batch_attempts", "approval"): "an approval's sequence",
    ("batch_attempts", "model_version"): "of an approval",
    ("batch_attempts", "session_pid"): "a process's number",
    ("streams", "stream_id"): "a topic each; a topic that is known draws none",
    ("stream_offsets", "stream_id"): "of a stream",
    ("stream_offsets", "kafka_partition"): "Kafka's own are 32 bits wide",
    ("predictions_stream", "stream_id"): "of a stream",
    ("predictions_stream", "approval"): "an approval's sequence",
    ("predictions_stream", "kafka_partition"): "Kafka's own are 32 bits wide",
    ("stream_batches", "stream_id"): "of a stream",
    ("stream_batches", "kafka_partition"): "Kafka's own are 32 bits wide",
    ("stream_batches", "approval"): "an approval's sequence",
}
"""Columns of fewer than 64 bits, and why they do not run out."""


def drawn(house: House) -> dict[str, tuple[str, int]]:
    """Sequence -> its type, and the last number that it gave."""
    found = house.connect("owner").execute(
        "select sequencename, data_type::text, coalesce(last_value, 0) from pg_sequences"
        " where schemaname = current_schema()"
    )
    return {name: (kind, last) for name, kind, last in found}


def test_every_small_number_is_one_that_does_not_run_out(house):
    found = house.connect("owner").execute(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = current_schema() and data_type in ('smallint', 'integer')"
        " and table_name !~ '_[0-9]{8}|^stage_' and table_name not in"
        " (select table_name from information_schema.views where table_schema = current_schema())"
    )
    assert set(found) == set(SMALL)


def test_every_number_that_is_drawn_is_wide_but_one(house):
    kinds = {name: kind for name, (kind, _) in drawn(house).items()}
    assert kinds.pop("streams_stream_id_seq") == "smallint"
    assert set(kinds.values()) == {"bigint"}
    assert len(kinds) >= 3


def test_a_topic_that_is_known_draws_no_number(fresh_house):
    """A worker registers its topic whenever it connects."""
    conn = fresh_house.connect()
    Ledger(conn, "events").open("u")
    before = drawn(fresh_house)["streams_stream_id_seq"]
    for _ in range(20):
        Ledger(conn, "events").open("u")
    Ledger(conn, "events").open("v", accept_loss=True)
    assert drawn(fresh_house)["streams_stream_id_seq"] == before


def test_control_asking_by_a_conflict_draws_one_each_time(fresh_house):
    conn = fresh_house.connect()
    Ledger(conn, "events").open("u")
    (_, before) = drawn(fresh_house)["streams_stream_id_seq"]
    for _ in range(3):
        conn.execute(
            "insert into streams (topic, topic_uuid) values ('events', 'u')"
            " on conflict (topic) do nothing"
        )
    assert drawn(fresh_house)["streams_stream_id_seq"] == ("smallint", before + 3)


def test_a_worker_starts_when_all_numbers_of_topics_are_used_up(fresh_house):
    conn = fresh_house.connect()
    Ledger(conn, "events").open("u")
    fresh_house.connect("owner").execute("select setval('streams_stream_id_seq', 32767)")
    Ledger(conn, "events").open("u")
    with pytest.raises(UsageError, match="no number is left for the topic another") as full:
        Ledger(conn, "another").open("u")
    assert "32,767" in str(full.value)


def test_epochs_offsets_and_partitions_go_as_far_as_kafka_s(fresh_house):
    conn = fresh_house.connect()
    ensure_stream_day(conn, DAY)
    ledger = Ledger(conn, "events")
    ledger.open("u")
    partition, end = 2**31 - 1, 2**63 - 1
    assert ledger.claim(partition, end - 1, end).next_offset == end - 1
    fresh_house.connect("owner").execute("update stream_offsets set epoch = 2::bigint ^ 62")
    claim = ledger.claim(partition, end - 1, end)
    assert claim.epoch == 2**62 + 1
    batch = MicroBatch(
        spans=[Span(partition, end - 1, end, claim.epoch)],
        ids=["last"],
        event_time=np.array([1_380_585_600_000_000]),
        entity=["e"],
        score=np.zeros(1, np.float32),
        margin=np.zeros(1, np.float32),
        partitions=np.array([partition], np.int32),
        offsets=np.array([end - 1]),
        approval=2**31 - 1,
        produced={partition: end},
        windows=np.ones((1, 2), np.float32),
        cut={"events": [end]},
    )
    assert ledger.write(batch) == 0
    assert ledger.settled(batch.spans)
    assert conn.execute("select next_offset, produced_offset from stream_offsets").fetchone() == (
        end,
        end,
    )
    assert conn.execute("select (cut->'events'->>0)::bigint from stream_batches").fetchone() == (
        end,
    )


def test_counts_of_rows_are_wide(fresh_house):
    conn, many = fresh_house.connect(), 2**40
    landed = Landed("events", "readings", date(2013, 10, 1), rows=many, late=many, fresh=many)
    reject = Rejected("events", "readings", "why", rows=many)
    for _ in range(2):
        record(conn, "run", [landed], [reject])
    assert conn.execute(
        "select l.rows, l.fresh, r.rows from landings l, landing_rejects r"
    ).fetchone() == (many, many, many)
