"""Every cell of docs/roles.md, tried: what each role may do, and every detour that we know of."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege

from lockstep.errors import Fenced, PublishRefused
from lockstep.warehouse import migrate
from lockstep.warehouse.attempts import read_attempt
from lockstep.warehouse.connect import answering
from lockstep.warehouse.ledger import Ledger
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.publish import current, publish
from lockstep.warehouse.staging import finish_attempt, stage
from tests.house import DAY, A, B, House, day_table, evidence, scored
from tests.warehouse.plain_login import make_login, plainly
from tests.warehouse.role_table import EVERYTHING, ROLES, ROWS, VIEWS, as_markdown

PLAIN = "analyst's login"
"""As psql begins it: it has taken no role, and has the same cells as the analyst."""
CELLS = [
    pytest.param(row, session, cell, id=f"{session}: {row.what}")
    for rows in ROWS.values()
    for row in rows
    for session, cell in zip((*ROLES, PLAIN), (*row.cells, row.cells[-1]), strict=True)
]
ANOTHER = {"scorer": "releaser", "releaser": "scorer", "analyst": "scorer"}


@pytest.fixture(scope="module")
def names(warehouse_settings) -> Iterator[tuple[House, dict[str, str]]]:
    """A use case with a published day, a sealed and an open stage, and a stream; and its names."""
    settings = make_login(warehouse_settings)
    house, other = (House(settings, f"test_{uuid.uuid4().hex[:10]}") for _ in ("this", "that"))
    migrate.upgrade(settings, house.use_case)
    migrate.upgrade(warehouse_settings, other.use_case)
    login = conninfo_to_dict(settings.url("analyst"))["user"]
    # Of the other one it may take the role, and inherits nothing.
    house.connect("owner").execute(
        f"set role none; grant {other.use_case}_analyst to {login} with inherit false"
    )
    house.approve()
    conn = house.connect()
    done = house.published(conn)
    sealed = house.staged(conn, inputs="sealed")
    filling = house.begin(conn, inputs="filling", rows=0)
    ensure_stream_day(conn, DAY)
    ledger = Ledger(conn, "events")
    ledger.open("u")
    ledger.claim(0, 0, 9)
    conn.execute(
        "insert into predictions_stream (event_date, stream_id, event_id, event_time, score,"
        " approval, kafka_partition, kafka_offset) values (%s, 1, 'first', now(), 0.5, 1, 0, 0)",
        (DAY,),
    )
    owner = house.connect("owner")
    day = day_table("predictions_batch", DAY)
    yield (
        house,
        {
            "uc": house.use_case,
            "analyst_login": login,
            "other": other.use_case,
            "day": day,
            "held": f"{day}_{done.current.publish_id}",
            "stage": str(sealed.stage_table),
            "open": str(filling.stage_table),
            "open_id": filling.publish_id,
            "sealed": str(sealed.number),
            "filling": str(filling.number),
            "approve": "insert into approvals (sequence, model_version, digest, reason, evidence)"
            f" select max(sequence) + 1, 2, '{B}', 'why', '{json.dumps(evidence(B))}'"
            " from approvals",
            "database": owner.info.dbname,
            "victim": str(owner.info.backend_pid),
        },
    )
    for opened in house.opened:
        opened.close()


@pytest.fixture(scope="module")
def sessions(names) -> dict[str, psycopg.Connection]:
    """One session for each role: what is tried in it is rolled back."""
    house = names[0]
    plain = plainly(house.settings)
    house.opened.append(plain)
    return {PLAIN: plain} | {role: house.connect(role) for role in (*ROLES, "owner")}


def told(conn: psycopg.Connection, statement: str) -> str:
    """yes or no: whether the database lets this be done. Nothing of it stays."""
    warned: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        warned.append(notice.sqlstate or "")

    conn.add_notice_handler(note)
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement)
    except InsufficientPrivilege:
        return "no"
    finally:
        conn.remove_notice_handler(note)
    # A grant without the right to grant is a warning, and nothing is done.
    return "no" if "01007" in warned else "yes"


@pytest.mark.parametrize(("row", "session", "cell"), CELLS)
def test_a_cell(names, sessions, row, session, cell):
    _, known = names
    role = "analyst" if session == PLAIN else session
    login = known["analyst_login"] if role == "analyst" else f"lockstep_{role}"
    known = known | {"role": role, "login": login, "another": ANOTHER[role]}
    conn = sessions[session]
    wrong = []
    for statement in row.tries:
        for name, value in known.items():
            statement = statement.replace("{" + name + "}", value)
        expected = "no" if cell == "no" else "yes"
        if told(conn, statement) != expected:
            wrong.append(f"not {expected}: {statement}")
    assert not wrong


def test_no_relation_of_the_schema_is_forgotten(names, sessions):
    """A new table gets its cells, or this fails."""
    _, known = names
    found = sessions["owner"].execute(
        "select relname from pg_class where relnamespace = current_schema()::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm')"
    )
    tried = {
        name.format(**known) for name in f"{EVERYTHING} {VIEWS} {{open}}".split()
    }  # every table and view that the rows of role_table name
    assert {name for (name,) in found} == tried


def test_the_page_is_this_table():
    assert as_markdown().strip() in Path("docs/roles.md").read_text()


def test_every_function_of_the_schema_looks_names_up_where_only_the_owner_creates(names, sessions):
    house, _ = names
    functions = (
        sessions["owner"]
        .execute(
            "select proname, proconfig, prosecdef, coalesce((select bool_or(grantee = 0)"
            " from aclexplode(proacl)), proacl is null)"
            " from pg_proc where pronamespace = current_schema()::regnamespace"
        )
        .fetchall()
    )
    assert len(functions) > 10
    for name, config, definer, public in functions:
        path = next(c for c in config if c.startswith("search_path="))
        assert path in (
            f"search_path=pg_catalog, {house.use_case}, pg_temp",
            "search_path=pg_catalog, pg_temp",
        ), name
        assert not public, name
        callable_ = sessions["scorer"].execute(
            "select has_function_privilege(p.oid, 'execute') from pg_proc p"
            " where p.pronamespace = %s::regnamespace and p.proname = %s",
            (house.use_case, name),
        )
        assert callable_.fetchone() == (definer,), name


ODD = [
    "make_day('approvals', '2013-10-01')",
    "make_day('predictions_stream; drop table approvals', '2013-10-01')",
    "make_day(null, '2013-10-01')",
    "make_day('predictions_stream', null)",
    "make_day('predictions_stream', 'infinity')",
    "make_day('predictions_stream', '0044-03-15 BC')",
    "make_day('predictions_batch', '10000-01-01')",
    "begin_attempt('2013-10-01', 'x''); drop table approvals; --', repeat('a', 64), 1, 1, 'i', 1,"
    " 'r')",
    "begin_attempt('2013-10-01', repeat('AB', 16), repeat('a', 64), 1, 1, 'i', 1, 'r')",
    "begin_attempt('2013-10-01', repeat('ab', 16), 'x', 1, 1, 'i', 1, 'r')",
    "begin_attempt('2013-10-01', repeat('ab', 16), repeat('a', 64), 1, 1, 'i', -1, 'r')",
    "begin_attempt('2013-10-01', null, null, null, null, null, null, null)",
    "begin_attempt('2013-10-01', repeat('ab', 16), repeat('a', 64), null, 1, 'i', 1, 'r')",
    "begin_attempt('infinity', repeat('ab', 16), repeat('a', 64), 1, 1, 'i', 1, 'r')",
    "finish_attempt(null)",
    "finish_attempt(-1)",
    "finish_attempt({sealed})",
    "place_publish(null)",
    "place_publish(9223372036854775807)",
    "place_publish({filling})",
    "switch_publish(null)",
    "switch_publish({filling})",
    "switch_publish({sealed})",
]


@pytest.mark.parametrize("call", ODD)
def test_odd_arguments_are_refused_and_change_nothing(names, sessions, call):
    _, known = names
    conn, owner = sessions["scorer"], sessions["owner"]
    for name in ("sealed", "filling"):
        call = call.replace("{" + name + "}", known[name])
    before = everything(owner)
    with pytest.raises(psycopg.Error) as refused:
        conn.execute(f"select {call}")
    assert refused.value.sqlstate in ("22023", "23502", "LS001", "LS002"), refused.value
    assert everything(owner) == before


def everything(owner: psycopg.Connection) -> list[tuple]:
    """Every relation of the schema, and the rows that say what is published."""
    relations = owner.execute(
        "select relname, relowner, relacl::text, relfilenode from pg_class"
        " where relnamespace = current_schema()::regnamespace order by 1"
    ).fetchall()
    return relations + [
        row
        for table in ("approvals", "current_publish", "publish_log", "batch_attempts")
        for row in owner.execute(f"select t::text, xmin::text from {table} t order by 1").fetchall()
    ]


# What a session can set for itself, before it calls the owner's functions.
TRICKS = {
    "temporary tables of the same names": (
        "create temp table approvals as select 1 as sequence, 1 as model_version,"
        " repeat('c', 64) as digest; create temp table batch_attempts as select * from"
        " {uc}.batch_attempts; create temp table current_publish as table {uc}.current_publish;"
        " set search_path = pg_temp, {uc}"
    ),
    "temporary functions and operators first": (
        "create function pg_temp.max(integer) returns integer language sql as 'select 7';"
        "create function pg_temp.to_char(date, text) returns text language sql as $$select 'x'$$;"
        "create function pg_temp.never(text, text) returns boolean language sql"
        " as 'select false';"
        "create operator pg_temp.= (leftarg = text, rightarg = text, function = pg_temp.never);"
        "set search_path = pg_temp, {uc}"
    ),
    "settings that change how text is read": (
        "set datestyle = 'SQL, DMY'; set timezone = 'Pacific/Kiritimati';"
        " set transform_null_equals = on; set standard_conforming_strings = off;"
        " set extra_float_digits = -15; set bytea_output = 'escape'"
    ),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_what_a_session_sets_for_itself_changes_no_decision(fresh_house, trick):
    conn = fresh_house.connect()
    honest = fresh_house.staged(conn, inputs="honest")
    forged = fresh_house.staged(conn, inputs="forged", digest="c" * 64)
    plain = fresh_house.connect()
    conn.execute(TRICKS[trick].replace("{uc}", fresh_house.use_case))
    for call in ("place_publish", "switch_publish"):
        with pytest.raises(PublishRefused, match="digest cccccccccccc"), answering(conn):
            conn.execute(f"select {fresh_house.use_case}.{call}(%s)", (forged.number,))
    assert conn.execute(
        f"select {fresh_house.use_case}.make_day('predictions_stream', date '2013-02-01')"
    ).fetchone() == (True,)
    assert plain.execute("select to_regclass('predictions_stream_20130201')").fetchone() != (None,)
    assert publish(plain, read_attempt(plain, honest.number)).how == "attached"
    assert current(plain, DAY).checksum == honest.checksum


def test_an_older_snapshot_does_not_bring_an_approval_back(fresh_house):
    conn, other = fresh_house.connect(), fresh_house.connect()
    attempt = fresh_house.staged(conn)
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    def publish_under_it() -> None:
        with conn.transaction():
            conn.execute("select * from approvals")
            fresh_house.approve(B, version=2)
            conn.execute("select place_publish(%s)", (attempt.number,))

    with pytest.raises(psycopg.errors.InvalidTransactionState):
        publish_under_it()
    with pytest.raises(PublishRefused, match="approval 2 names version 2"):
        publish(other, attempt)


def test_rows_that_others_staged_are_not_published_under_their_name(fresh_house):
    """Attached by an attempt that died; another staged other rows of the same publish."""
    conn = fresh_house.connect()
    first, second = fresh_house.begin(conn), fresh_house.begin(conn)
    stage(fresh_house.conninfo(), first, [scored(5, 0.25)])
    stage(fresh_house.conninfo(), second, [scored(5, 0.75)])
    finish_attempt(conn, first)
    conn.execute("select place_publish(%s)", (first.number,))
    with pytest.raises(PublishRefused, match="staged other rows than are held"):
        publish(conn, finish_attempt(conn, second))
    assert current(conn, DAY) is None


def test_an_attempt_of_a_version_that_was_not_approved_is_refused(fresh_house):
    """The log would lead from its rows to a model that did not make them."""
    fresh_house.approve(B, version=2)
    fresh_house.approve(A, version=3)
    conn = fresh_house.connect()
    attempt = fresh_house.staged(conn, approval=3)  # says version 1
    with pytest.raises(PublishRefused, match="approval 3 does not name version 1"):
        publish(conn, attempt)


def test_a_sealed_attempt_cannot_be_sealed_again(fresh_house):
    conn = fresh_house.connect()
    attempt = fresh_house.staged(conn)
    with pytest.raises(Fenced), answering(conn):
        conn.execute("select finish_attempt(%s)", (attempt.number,))
