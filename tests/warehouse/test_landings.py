"""Landings: noted once, and what they say about days that were published before them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from psycopg.errors import InsufficientPrivilege

from lockstep.warehouse.landings import Landed, Rejected, changed_days, newest_landing, record

DAY = date(2013, 10, 1)
EVENTS = Landed(
    *("flights.events", "departures", DAY, 5),
    **{"late": 1, "offsets": {0: (3, 7)}, "fresh": 3, "fresh_late": 1},
)
COPIES = replace(EVENTS, fresh=0, fresh_late=0)


def test_a_run_is_noted_once(fresh_house):
    conn = fresh_house.connect()
    bad = Rejected("flights.events", "departures", "not JSON", 2, "partition 0, offset 4")
    for _ in range(2):
        record(conn, "run-1", [EVENTS], [bad])
    record(conn, "run-2", [EVENTS])
    assert conn.execute(
        "select run_id, source, event_date, rows, late, offsets, fresh, fresh_late from landings"
        " order by run_id"
    ).fetchall() == [
        ("run-1", "departures", DAY, 5, 1, {"0": [3, 7]}, 3, 1),
        ("run-2", "departures", DAY, 5, 1, {"0": [3, 7]}, 3, 1),
    ]
    assert conn.execute("select reason, rows, example from landing_rejects").fetchall() == [
        ("not JSON", 2, "partition 0, offset 4")
    ]


def test_a_published_day_changes_when_new_events_land_and_not_by_copies(fresh_house):
    conn = fresh_house.connect()
    record(conn, "first", [EVENTS])
    assert changed_days(conn) == []
    fresh_house.published(conn, day=DAY)
    assert changed_days(conn) == []
    other = Landed("flights.arrivals", "arrivals", DAY + timedelta(days=1), 9, fresh=9)
    record(conn, "nothing new", [replace(COPIES, rows=0)])
    record(conn, "copies", [COPIES])
    assert changed_days(conn) == []
    record(conn, "second", [EVENTS, other])
    (changed,) = changed_days(fresh_house.connect("analyst"))
    assert (changed.source, changed.event_date, changed.rows, changed.late) == (
        "departures", DAY, 3, 1
    )  # fmt: skip
    assert changed.landed_at == newest_landing(conn, "departures", DAY) > changed.published_at
    assert newest_landing(conn, "departures", DAY - timedelta(days=1)) is None
    # Scored again with what landed, the day is as new as its input.
    fresh_house.published(conn, day=DAY, inputs="with what landed")
    assert changed_days(conn) == []


@pytest.mark.parametrize("table", ["landings", "landing_rejects", "stream_batches", "audits"])
def test_what_was_noted_stays(house, table):
    scorer = house.connect()
    assert scorer.execute(f"select count(*) from {table}").fetchone() == (0,)
    for statement in (f"delete from {table}", f"truncate {table}", f"drop table {table}"):
        with pytest.raises(InsufficientPrivilege):
            scorer.execute(statement)
