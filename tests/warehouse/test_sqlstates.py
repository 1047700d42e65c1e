"""Every SQLSTATE is classed; those that matter come from a real server."""

from __future__ import annotations

import inspect
import threading

import psycopg
import pytest

from lockstep.trouble import Trouble
from lockstep.warehouse.trouble import postgres_trouble, state_trouble

STATES = {
    kind.sqlstate: kind
    for _, kind in inspect.getmembers(psycopg.errors, inspect.isclass)
    if isinstance(getattr(kind, "sqlstate", None), str)
}
PASSING_CLASSES, OWN_CLASSES = {"08", "40", "53", "57"}, {"22", "23", "54"}
PASSING_ALL_THE_SAME = {"25006", "25P03", "25P04", "55006", "55P03", "58000", "58030"}
FINAL_ALL_THE_SAME = {"23503", "54001", "54011", "54023", "57P04"}


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_state_is_its_class_but_for_those_with_a_reason(state):
    if state in FINAL_ALL_THE_SAME:
        expected = Trouble.FINAL
    elif state[:2] in PASSING_CLASSES or state in PASSING_ALL_THE_SAME:
        expected = Trouble.PASSING
    else:
        expected = Trouble.OWN if state[:2] in OWN_CLASSES else Trouble.FINAL
    assert state_trouble(state) is expected
    assert postgres_trouble(STATES[state]("said the server")) is expected


def test_a_state_that_nobody_knows_is_final():
    assert state_trouble("ZZ999") is Trouble.FINAL


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("consuming input failed"), Trouble.PASSING),
        (psycopg.InterfaceError("the connection is closed"), Trouble.PASSING),
        (psycopg.DataError("text fields cannot contain NUL"), Trouble.OWN),
        (psycopg.ProgrammingError("the query has 1 placeholder"), Trouble.FINAL),
        (psycopg.NotSupportedError("not with this libpq"), Trouble.FINAL),
    ],
)
def test_what_psycopg_says_by_itself(error, expected):
    assert postgres_trouble(error) is expected


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("insert into t (id) values (convert_from(%s, 'UTF8'))", [b"\xff\xfe"]),
        ("insert into t (id) values (%s)", ["a\0b"]),
        ("insert into t (id) values (%s)", [None]),
        ("insert into t (id) values (string_agg_of(%s))", [9_000]),
        ("insert into t (id, small) values ('x', %s)", [2**40]),
        ("insert into t (id, kind) values ('x', %s)", ["neither"]),
    ],
    ids=["bytes", "nul", "null", "too large for the index", "out of range", "check"],
)
def test_what_a_row_brings_is_the_rows_own(postgres, statement, values):
    with psycopg.connect(postgres.url("lockstep_admin")) as connection:
        connection.execute(
            "create temp table t (id text primary key, small int, kind text check (kind = 'one'))"
        )
        connection.execute(
            "create function pg_temp.string_agg_of(int) returns text language sql as"
            " $$ select string_agg(md5(n::text), '') from generate_series(1, $1) n $$"
        )
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(statement.replace("string_agg_of", "pg_temp.string_agg_of"), values)
    assert postgres_trouble(refused.value) is Trouble.OWN, refused.value


def test_a_deadlock_passes(postgres):
    url = postgres.url("lockstep_admin")
    with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url) as other:
        one.execute("set deadlock_timeout = '20ms'")
        one.execute("drop table if exists a; drop table if exists b")
        one.execute("create table a (); create table b ()")
        failures: list[psycopg.Error] = []

        def lock(connection: psycopg.Connection, table: str) -> None:
            try:
                connection.execute(f"lock table {table}")
            except psycopg.Error as error:
                failures.append(error)
                connection.rollback()

        one.execute("begin; lock table a")
        other.execute("lock table b")
        waiting = threading.Thread(target=lock, args=(other, "a"))
        waiting.start()
        lock(one, "b")
        waiting.join()
        one.rollback()
        other.rollback()
        one.execute("drop table a; drop table b")
    assert [type(failure) for failure in failures] == [psycopg.errors.DeadlockDetected]
    assert postgres_trouble(failures[0]) is Trouble.PASSING


def test_a_session_that_is_ended_passes(postgres):
    url = postgres.url("lockstep_admin")
    with psycopg.connect(url) as victim, psycopg.connect(url) as admin:
        admin.execute("select pg_terminate_backend(%s)", (victim.info.backend_pid,))
        with pytest.raises(psycopg.Error) as ended:
            victim.execute("select 1")
        with pytest.raises(psycopg.Error) as gone:
            victim.execute("select 1")
    assert postgres_trouble(ended.value) is Trouble.PASSING
    assert postgres_trouble(gone.value) is Trouble.PASSING


def test_a_right_that_is_missing_is_final(house):
    with pytest.raises(psycopg.Error) as refused:
        house.connect("analyst").execute("select * from stream_offsets")
    assert postgres_trouble(refused.value) is Trouble.FINAL
