"""Who may do what. Every refusal stands beside what the same role may do."""

from __future__ import annotations

import json
import uuid

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from lockstep.errors import UsageError
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect, open_connection
from tests.house import A, evidence

APPROVE = (
    "insert into approvals (sequence, model_version, digest, reason, evidence)"
    f" select coalesce(max(sequence), 0) + 1, 1, '{A}', 'why', '{json.dumps(evidence(A))}'"
    " from approvals"
)


@pytest.fixture(scope="module")
def neighbour(warehouse_settings) -> str:
    """Another use case on the same server, with a row in it."""
    name = f"test_{uuid.uuid4().hex[:10]}"
    migrate.upgrade(warehouse_settings, name)
    return name


def refuse(conn: psycopg.Connection, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        conn.execute(statement)


def test_the_scorer_reads_approvals_and_changes_none(house):
    scorer = house.connect("scorer")
    assert scorer.execute("select count(*) from approvals").fetchone() >= (1,)
    refuse(scorer, APPROVE)
    refuse(scorer, "update approvals set digest = repeat('f', 64)")
    refuse(scorer, "delete from approvals")
    refuse(scorer, "truncate approvals")
    refuse(scorer, "drop table approvals")
    refuse(scorer, "alter table approvals disable trigger all")
    refuse(scorer, "drop view predictions")


def test_the_scorer_cannot_rewrite_what_is_published(house):
    conn = house.connect("scorer")
    house.published(conn)
    refuse(conn, "update predictions_batch set score = 0")
    refuse(conn, "delete from predictions_batch")
    refuse(conn, "truncate predictions_batch")
    refuse(conn, "update publish_log set checksum = ''")
    refuse(conn, "delete from publish_log")


def test_the_releaser_appends_and_changes_nothing(house):
    releaser = house.connect("releaser")
    before = releaser.execute("select max(sequence) from approvals").fetchone()[0]
    releaser.execute(APPROVE)
    assert releaser.execute("select max(sequence) from approvals").fetchone() == (before + 1,)
    refuse(releaser, "update approvals set reason = 'another'")
    refuse(releaser, "delete from approvals")
    refuse(releaser, "truncate approvals")
    refuse(releaser, "select * from predictions_batch")
    refuse(releaser, "insert into streams (topic, topic_uuid) values ('t', 'u')")
    refuse(releaser, "create table mine (x int)")


def test_the_moment_of_an_approval_is_the_warehouse_s_word(house):
    refuse(
        house.connect("releaser"),
        "insert into approvals (sequence, model_version, digest, reason, approved_at)"
        " select max(sequence) + 1, 1, repeat('a', 64), 'why', '2001-01-01' from approvals",
    )


@pytest.mark.parametrize(
    "statement",
    [
        "update approvals set reason = 'another'",
        "delete from approvals",
        "truncate approvals",
    ],
)
def test_not_even_the_owner_changes_an_approval_by_accident(house, statement):
    owner = house.connect("owner")
    with pytest.raises(InsufficientPrivilege, match="append-only"):
        owner.execute(statement)


@pytest.mark.parametrize("sequence", ["max(sequence)", "max(sequence) + 2", "0", "-1"])
def test_an_approval_follows_the_one_before(house, sequence):
    with pytest.raises(psycopg.errors.UniqueViolation):
        house.connect("releaser").execute(
            "insert into approvals (sequence, model_version, digest, reason)"
            f" select {sequence}, 1, repeat('a', 64), 'why' from approvals"
        )


def test_the_analyst_reads_the_views_and_nothing_else(house):
    house.published(house.connect())
    analyst = house.connect("analyst")
    assert analyst.execute("select count(*) from predictions").fetchone()[0] > 0
    assert analyst.execute("select count(*) from latest_predictions").fetchone()[0] > 0
    tables = analyst.execute(
        "select relname from pg_class where relnamespace = current_schema()::regnamespace"
        " and relkind in ('r', 'p')"
    ).fetchall()
    assert len(tables) > 8
    for (table,) in tables:
        with pytest.raises(InsufficientPrivilege):
            analyst.execute(sql.SQL("select 1 from {}").format(sql.Identifier(table)))
    refuse(analyst, "create table mine (x int)")


@pytest.mark.parametrize("role", ["scorer", "releaser", "analyst"])
def test_another_use_case_is_out_of_sight(house, neighbour, role):
    conn = house.connect(role)
    for relation in ("predictions", "approvals", "predictions_batch", "stream_offsets"):
        refuse(conn, f"select * from {neighbour}.{relation}")
        # Not on the search path either: without a schema's name it is one's own.
    refuse(conn, f"create table {neighbour}.mine (x int)")
    with pytest.raises(UndefinedTable):
        conn.execute(f"select * from {house.use_case}.no_such_table")


def test_a_login_for_one_use_case_cannot_take_another_s_role(house, neighbour):
    """A company gives each use case a login of its own: it cannot step over."""
    login, password = f"only_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    owner = open_connection(house.settings.url("owner"), house.use_case)
    with owner:
        owner.execute(f"create role {login} login password '{password}'")
        owner.execute(f"grant {house.use_case}_scorer to {login} with inherit false")
        owner.execute(f"grant connect on database {owner.info.dbname} to {login}")
        dsn = f"postgresql://{login}:{password}@127.0.0.1:{owner.info.port}/{owner.info.dbname}"
    from pydantic import SecretStr

    settings = house.settings.model_copy(update={"scorer_url": SecretStr(dsn)})
    with connect(settings, "scorer", house.use_case) as conn:
        assert conn.execute("select count(*) from predictions_stream").fetchone() == (0,)
        refuse(conn, f"set role {neighbour}_scorer")
        refuse(conn, f"set role {house.use_case}_releaser")
        refuse(conn, f"set role {house.use_case}_owner")
    with pytest.raises(UsageError, match="permission denied"):
        connect(settings, "scorer", neighbour)


@pytest.mark.parametrize(
    ("login", "role"),
    [("scorer", "releaser"), ("scorer", "owner"), ("analyst", "scorer"), ("releaser", "scorer")],
)
def test_a_login_takes_only_its_own_role(house, login, role):
    refuse(house.connect(login), f"set role {house.use_case}_{role}")


def test_a_login_inherits_nothing(house):
    """Without taking a role, a login cannot even look."""
    with open_connection(house.settings.url("scorer"), house.use_case) as conn:
        refuse(conn, f"select * from {house.use_case}.predictions_batch")
