"""An analyst's login as psql and BI tools use it: no SET ROLE, no options, bare names."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from lockstep.warehouse.connect import connect
from lockstep.warehouse.migrate import Migrated, upgrade
from tests.house import House
from tests.warehouse.older_release import name
from tests.warehouse.plain_login import make_login, plainly
from tests.warehouse.role_table import VIEWS

__all__ = ["name"]


@pytest.fixture
def analyst(warehouse_settings, name):
    """A use case with a login of its own for its analysts."""
    settings = make_login(warehouse_settings)
    upgrade(settings, name)
    return House(settings, name)


def login_of(house: House) -> str:
    return psycopg.conninfo.conninfo_to_dict(house.settings.url("analyst"))["user"]


def isolation(conn: psycopg.Connection) -> str:
    return conn.execute("show transaction_isolation").fetchone()[0]


def test_the_views_are_found_by_their_names_in_repeatable_read(analyst):
    with plainly(analyst.settings) as conn:
        for view in VIEWS.split():
            assert conn.execute(f"select count(*) from {view}").fetchone() == (0,)
        assert isolation(conn) == "repeatable read"
        # What is not a view of the analysts' is refused: the rest is in test_role_table.py.
        for table in ("approvals", "predictions_batch", "publish_log"):
            with pytest.raises(InsufficientPrivilege):
                conn.execute(f"select * from {table}")
        with pytest.raises(InsufficientPrivilege):
            conn.execute(f"set role {analyst.use_case}_scorer")
    with connect(analyst.settings, "analyst", analyst.use_case) as conn:
        assert conn.execute("select current_user::text").fetchone() == (
            f"{analyst.use_case}_analyst",
        )


def test_a_second_migration_changes_nothing(analyst):
    assert upgrade(analyst.settings, analyst.use_case).notes == ()
    with plainly(analyst.settings) as conn:
        conn.execute("select * from predictions")


def test_a_login_of_several_use_cases_writes_their_names(analyst):
    """A bare name would be one of several tables: none is better than the wrong one."""
    other = f"test_{uuid.uuid4().hex[:10]}"
    [note] = upgrade(analyst.settings, other).notes
    assert note.startswith(f"{login_of(analyst)} reads several use cases now")
    assert upgrade(analyst.settings, other).notes == (), "it is told when it happens"
    with plainly(analyst.settings) as conn:
        for use_case in (analyst.use_case, other):
            conn.execute(f"select * from {use_case}.predictions")
            with pytest.raises(InsufficientPrivilege):
                conn.execute(f"select * from {use_case}.approvals")
        with pytest.raises(UndefinedTable):
            conn.execute("select * from predictions")
        assert isolation(conn) == "repeatable read"
    with plainly(analyst.settings, options=f"-c search_path={other}") as conn:
        conn.execute("select * from predictions")


@pytest.mark.parametrize("path", ["public, {}", "public, pg_temp", "ours, pg_temp", "{}"])
@pytest.mark.parametrize("use_cases", [1, 2])
def test_a_path_that_somebody_chose_is_kept(analyst, path, use_cases):
    if use_cases == 2:
        upgrade(analyst.settings, f"test_{uuid.uuid4().hex[:10]}")
    chosen = path.format(analyst.use_case)
    with psycopg.connect(analyst.settings.url("owner"), autocommit=True) as owner:
        owner.execute(
            f"alter role {login_of(analyst)} in database lockstep set search_path = {chosen}"
        )
    assert upgrade(analyst.settings, analyst.use_case).notes == ()
    with plainly(analyst.settings) as conn:
        assert conn.execute("show search_path").fetchone() == (chosen,)


def test_a_login_that_is_not_ours_to_change_is_left_and_told(
    warehouse_settings, postgres, name
) -> None:
    admin = postgres.url("lockstep_admin")
    settings = make_login(warehouse_settings, admin)
    migrated = upgrade(settings, name)
    house = House(settings, name)
    with plainly(settings) as conn:
        conn.execute(f"select * from {name}.predictions")  # the group is ours
        assert isolation(conn) == "read committed"
    [note] = migrated.notes
    assert login_of(house) in note
    # What the note says is what it takes.
    statements = note.partition("administrator run: ")[2]
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(statements)
    with plainly(settings) as conn:
        conn.execute("select * from predictions")
        assert isolation(conn) == "repeatable read"
    assert upgrade(settings, name) == Migrated(name, migrated.after, migrated.after)


def test_a_login_that_does_more_than_analysing_inherits_nothing(warehouse_settings, name):
    settings = warehouse_settings.model_copy(
        update={"analyst_url": warehouse_settings.releaser_url}
    )
    upgrade(settings, name)
    with plainly(settings) as conn:
        assert isolation(conn) == "read committed"
        with pytest.raises(InsufficientPrivilege):
            conn.execute(f"select * from {name}.predictions")


def test_the_local_stack_s_login_reads_every_use_case(warehouse_settings, name):
    use_cases = (name, f"{name}_2")
    for use_case in use_cases:
        upgrade(warehouse_settings, use_case)
    with plainly(warehouse_settings) as conn:
        for use_case in use_cases:
            conn.execute(f"select * from {use_case}.predictions")
        assert isolation(conn) == "repeatable read"
