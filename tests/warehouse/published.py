"""What a publish leaves to be seen, for tests of publishing."""

from __future__ import annotations

from datetime import date, timedelta

import psycopg
import pytest

from tests.house import House, day_table

DAYS = iter(date(2013, 1, 1) + timedelta(days=n) for n in range(1000))


@pytest.fixture
def day() -> date:
    """A day that no other test uses."""
    return next(DAYS)


def seen(conn: psycopg.Connection, day: date) -> tuple:
    """What a reader of the view sees of a day: rows, lowest and highest score."""
    return conn.execute(
        "select count(*), min(score), max(score) from predictions where event_date = %s", (day,)
    ).fetchone()


def bytes_of(house: House, day: date) -> list[tuple]:
    """Every row of a day with the file, the place and the transaction that wrote it."""
    conn = house.connect("owner")
    tables = conn.execute(
        "select c.oid::regclass::text, c.relfilenode from pg_inherits i"
        " join pg_class c on c.oid = i.inhrelid where i.inhparent = to_regclass(%s) order by 1",
        (day_table("predictions_batch", day),),
    ).fetchall()
    rows = [
        conn.execute(f"select ctid::text, xmin::text, t::text from {name} t order by ctid")
        for name, _ in tables
    ]
    kept = conn.execute(
        "select xmin::text, c::text from current_publish c where event_date = %s", (day,)
    )
    log = conn.execute(
        "select xmin::text, l::text from publish_log l where event_date = %s order by attempt",
        (day,),
    )
    return [*tables, *(r for found in rows for r in found), *kept, *log]
