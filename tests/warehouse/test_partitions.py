"""A day's partition appears while others read and write, and nobody waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import psycopg
import pytest
from psycopg.errors import CheckViolation, LockNotAvailable

from lockstep.warehouse.partitions import ensure_stream_day
from tests.house import day_table

FIRST = date(2013, 3, 1)
INSERT = (
    "insert into predictions_stream (event_date, stream_id, event_id, event_time, score,"
    " approval, kafka_partition, kafka_offset) values (%s, 1, %s, now(), 0.5, 1, 0, 0)"
)


def make_batch_day(conn: psycopg.Connection, day: date) -> bool:
    """As the beginning of an attempt does."""
    return conn.execute("select make_day('predictions_batch', %s)", (day,)).fetchone()[0]


def test_once_and_then_cheaply(house):
    conn = house.connect()
    assert ensure_stream_day(conn, FIRST)
    assert not ensure_stream_day(conn, FIRST)
    conn.execute(INSERT, (FIRST, "an event"))
    assert conn.execute(
        "select tableoid::regclass::text from predictions_stream where event_id = 'an event'"
    ).fetchone() == (day_table("predictions_stream", FIRST),)


def test_a_partition_holds_its_day_and_no_other(house):
    conn = house.connect()
    ensure_stream_day(conn, FIRST)
    with pytest.raises(CheckViolation):
        conn.execute(INSERT, (FIRST + timedelta(days=300), "elsewhere"))
    with pytest.raises(CheckViolation):
        house.connect("owner").execute(
            INSERT.replace("predictions_stream", day_table("predictions_stream", FIRST), 1),
            (FIRST + timedelta(days=1), "by hand"),
        )


def test_many_workers_at_once(fresh_house):
    days = [FIRST + timedelta(days=n) for n in range(5)]

    def worker(_: int) -> list[bool]:
        conn = fresh_house.connect()
        return [ensure_stream_day(conn, day) | make_batch_day(conn, day) for day in days]

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(worker, range(6)))
    conn = fresh_house.connect()
    for parent in ("predictions_stream", "predictions_batch"):
        assert conn.execute(
            "select count(*) from pg_inherits where inhparent = %s::regclass", (parent,)
        ).fetchone() == (5,)
    assert all(any(column) for column in zip(*made, strict=True))


@pytest.fixture
def busy(house):
    """A reader in mid-query and a writer in mid-transaction, both on the parents."""
    reader, writer = house.connect("analyst"), house.connect()
    ensure_stream_day(writer, FIRST)
    reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with reader.transaction(), writer.transaction():
        reader.execute("select count(*) from predictions")
        writer.execute(INSERT, (FIRST, "not committed"))
        yield reader
        writer.execute(INSERT, (FIRST, "still at work"))
        reader.execute("select count(*) from predictions")


def test_nobody_waits(house, busy):
    maker, another = house.connect(), house.connect("analyst")
    maker.execute("set lock_timeout = '1min'")
    another.execute("set lock_timeout = '1min'")
    with maker.transaction():
        # As a savepoint, so that the locks are still held while the others read.
        assert ensure_stream_day(maker, FIRST + timedelta(days=40))
        assert make_batch_day(maker, FIRST + timedelta(days=40))
        busy.execute("select count(*) from predictions")
        another.execute("select count(*) from predictions")
        another.execute("select count(*) from latest_predictions")


def test_control_making_it_inside_its_parent_waits(house, busy):
    """What is avoided: CREATE TABLE ... PARTITION OF waits for every reader."""
    conn = house.connect("owner")
    conn.execute("set lock_timeout = '200ms'")
    with pytest.raises(LockNotAvailable):
        conn.execute(
            "create table control_day partition of predictions_stream"
            " for values from ('2013-12-01') to ('2013-12-02')"
        )


def test_a_crash_between_making_and_attaching_leaves_nothing(house):
    conn, day = house.connect(), FIRST + timedelta(days=50)
    with conn.transaction(force_rollback=True):
        ensure_stream_day(conn, day)
    name = day_table("predictions_stream", day)
    assert conn.execute("select to_regclass(%s)", (name,)).fetchone() == (None,)
    assert ensure_stream_day(conn, day)


def test_the_offsets_index_is_used_after_a_restart(house):
    conn, day = house.connect(), FIRST + timedelta(days=60)
    ensure_stream_day(conn, day)
    conn.execute(
        "insert into predictions_stream (event_date, stream_id, event_id, event_time, score,"
        " approval, kafka_partition, kafka_offset)"
        " select %s, 1, 'e' || n, %s::timestamptz + n * interval '1 ms', 0.5, 1, n %% 4, n / 4"
        " from generate_series(1, 200000) n",
        (day, day),
    )
    house.connect("owner").execute("analyze predictions_stream")
    plan = "\n".join(
        row[0]
        for row in conn.execute(
            "explain select * from predictions_stream where stream_id = 1"
            " and kafka_partition = 2 and kafka_offset >= 49900"
        )
    )
    assert f"Scan on {day_table('predictions_stream', day)}_stream_id_kafka_partition" in plan, plan
