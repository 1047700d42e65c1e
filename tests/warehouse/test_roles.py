"""Use cases and logins apart. What each role may do in its own: test_role_table.py."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from lockstep.errors import UsageError
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect, open_connection


@pytest.fixture(scope="module")
def neighbour(warehouse_settings) -> str:
    """Another use case on the same server, with a row in it."""
    name = f"test_{uuid.uuid4().hex[:10]}"
    migrate.upgrade(warehouse_settings, name)
    return name


def refuse(conn: psycopg.Connection, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        conn.execute(statement)


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


def test_a_login_inherits_nothing(house):
    """Without taking a role, a login cannot even look."""
    with open_connection(house.settings.url("scorer"), house.use_case) as conn:
        refuse(conn, f"select * from {house.use_case}.predictions_batch")
