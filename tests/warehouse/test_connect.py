"""Connections: what they are allowed to hold up, and what a user reads when there is none."""

from __future__ import annotations

import subprocess
import sys
import uuid
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr

from lockstep.errors import Transient, Unreachable, UsageError
from lockstep.local.home import free_port
from lockstep.settings import Settings
from lockstep.warehouse.connect import answering, connect, conninfo, engine, open_connection

SECRET = "s3cr3t-pa55word"


def with_url(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"scorer_url": SecretStr(url)})


def test_nothing_listens(house):
    port = free_port()
    url = f"postgresql://lockstep_scorer:{SECRET}@127.0.0.1:{port}/lockstep"
    with pytest.raises(Unreachable) as refused:
        connect(with_url(house.settings, url), "scorer", house.use_case)
    text = str(refused.value)
    assert f"127.0.0.1:{port}" in text
    assert "lockstep status" in text
    assert SECRET not in text
    assert refused.value.__cause__ is None


def test_wrong_password(house):
    where = urlsplit(house.settings.url("scorer"))
    url = f"postgresql://lockstep_scorer:{SECRET}@{where.hostname}:{where.port}{where.path}"
    with pytest.raises(UsageError, match="password authentication failed") as refused:
        connect(with_url(house.settings, url), "scorer", house.use_case)
    assert SECRET not in str(refused.value)
    assert "LOCKSTEP_*_URL" in str(refused.value)


def test_database_that_does_not_exist(house):
    where = urlsplit(house.settings.url("scorer"))
    url = where._replace(path="/nowhere").geturl()
    with pytest.raises(UsageError, match="nowhere"):
        connect(with_url(house.settings, url), "scorer", house.use_case)


def test_an_address_that_was_good_once_is_waited_for_whatever_the_server_says(postgres):
    """Words are no rule: they come in the server's language, and new ones with each release."""
    name = f"test_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(postgres.url("lockstep_admin"), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        known = postgres.url("lockstep_admin", name)
        open_connection(known, "flights").close()
        admin.execute(f"alter database {name} allow_connections false")
        with pytest.raises(Unreachable, match="not currently accepting connections"):
            open_connection(known, "flights")
        # The control: the same words to an address that never was good.
        with pytest.raises(UsageError, match="not currently accepting connections"):
            open_connection(known + "&application_name=new", "flights")
        admin.execute(f"drop database {name}")


_STARTING = r"""
import socket
said = b"SFATAL\0VFATAL\0C57P03\0Mdas Datenbanksystem startet\0\0"
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        with client:
            client.recv(4096)
            client.sendall(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
"""
"""One answer of the wire, as a server with lc_messages = de gives it while it starts."""


def test_a_server_that_starts_is_known_by_its_state_in_any_language():
    # A process of its own: libpq's ping lets no other thread of this one run.
    with subprocess.Popen([sys.executable, "-c", _STARTING], stdout=subprocess.PIPE) as server:
        try:
            port = int(server.stdout.readline())
            url = f"postgresql://me@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable"
            with pytest.raises(Unreachable, match="Datenbanksystem startet"):
                open_connection(url + "&connect_timeout=10", "flights")
        finally:
            server.kill()


def test_use_case_that_was_not_migrated(house):
    with pytest.raises(UsageError, match="does not know 'never_made'") as refused:
        connect(house.settings, "scorer", "never_made")
    assert refused.value.next == "lockstep migrate never_made"


@pytest.mark.parametrize("name", ["", "Flights", "x; drop schema x", "1st", "a" * 41, 'a"b'])
def test_use_case_that_cannot_be_a_schema(house, name):
    with pytest.raises(UsageError, match="cannot name a use case"):
        connect(house.settings, "scorer", name)


def test_role_that_does_not_exist(house):
    with pytest.raises(UsageError, match="no warehouse role 'admin'"):
        connect(house.settings, "admin", house.use_case)


def test_no_address():
    with pytest.raises(UsageError, match="LOCKSTEP_SCORER_URL"):
        connect(Settings(), "scorer", "flight_delay")


@pytest.mark.parametrize("role", ["owner", "scorer", "releaser", "analyst"])
def test_a_session_is_one_role_of_one_use_case(house, role):
    conn = house.connect(role)
    shown = conn.execute(
        "select current_user::text, current_schema()::text, current_setting('search_path'),"
        " current_setting('idle_in_transaction_session_timeout'), current_setting('timezone'),"
        " current_setting('application_name')"
    ).fetchone()
    assert shown == (
        f"{house.use_case}_{role}",
        house.use_case,
        f"{house.use_case},pg_temp",
        "1min",
        "UTC",
        f"lockstep {house.use_case} {role}",
    )
    assert conn.autocommit
    parameters = conn.info.get_parameters()
    assert parameters["keepalives_idle"] == "15"
    assert parameters["tcp_user_timeout"] == "30000"
    assert parameters["connect_timeout"] == "10"


def test_options_of_the_address_are_kept(house):
    url = house.settings.url("scorer") + "&options=-c%20work_mem%3D7MB&application_name=mine"
    with connect(with_url(house.settings, url), "scorer", house.use_case) as conn:
        assert conn.execute("show work_mem").fetchone() == ("7MB",)
        assert conn.execute("show application_name").fetchone() == ("mine",)
        assert conn.execute("select current_user").fetchone() == (f"{house.use_case}_scorer",)


def test_the_engine_is_the_same_session_with_transactions(house):
    import sqlalchemy

    engine_ = engine(house.settings, "owner", house.use_case)
    try:
        with engine_.begin() as conn:
            assert conn.scalar(sqlalchemy.text("select current_schema()")) == house.use_case
            conn.execute(sqlalchemy.text("create table rolled_back (x int)"))
            conn.rollback()
        with engine_.connect() as conn:
            assert conn.scalar(sqlalchemy.text("select to_regclass('rolled_back')")) is None
    finally:
        engine_.dispose()


def test_a_connection_that_is_cut_while_it_works(house, postgres):
    victim, other = house.connect("owner"), house.connect()
    pid = victim.info.backend_pid

    def work() -> None:
        with answering(victim), victim.transaction():
            victim.execute("create table half_written (x int)")
            with psycopg.connect(postgres.url("lockstep_admin")) as admin:
                admin.execute("select pg_terminate_backend(%s)", (pid,))
            victim.execute("select 1")

    with pytest.raises(Unreachable, match="stopped answering") as lost:
        work()
    assert "127.0.0.1" in str(lost.value)
    assert other.execute("select to_regclass('half_written')").fetchone() == (None,)


def test_a_lock_that_does_not_come(house):
    holder, waiter = house.connect("owner"), house.connect("owner")

    def wait() -> None:
        with answering(waiter), waiter.transaction():
            waiter.execute("set local lock_timeout = '50ms'")
            waiter.execute("lock table streams")

    with holder.transaction():
        holder.execute("lock table streams")
        with pytest.raises(Transient, match="lock timeout") as blocked:
            wait()
    assert "rolled back" in str(blocked.value)
    assert f"the lock is held by server process {holder.info.backend_pid}" in str(blocked.value)
    assert "user lockstep_owner" in str(blocked.value)
    wait()


def test_a_frozen_transaction_lets_go(house):
    """A process frozen inside a transaction is thrown out by the server."""
    frozen, successor = house.connect("owner"), house.connect("owner")
    frozen.execute("set idle_in_transaction_session_timeout = '100ms'")
    frozen.execute("begin")
    frozen.execute("lock table streams")
    with successor.transaction():
        successor.execute("set local lock_timeout = '4min'")
        successor.execute("lock table streams")
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        frozen.execute("select 1")


def test_a_schema_from_before(house):
    conn = house.connect()
    with pytest.raises(UsageError, match="not up to date") as old, answering(conn):
        conn.execute("select * from a_table_of_the_future")
    assert old.value.next == f"lockstep migrate {house.use_case}"


def test_the_connection_string_carries_what_a_task_needs(house):
    with psycopg.connect(conninfo(house.settings, "scorer", house.use_case)) as conn:
        assert conn.execute("select current_user").fetchone() == (f"{house.use_case}_scorer",)
