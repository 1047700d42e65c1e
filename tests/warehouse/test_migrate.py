"""Migrations: idempotent, whole or not at all, and equal to the tables in the code."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Column, Integer, MetaData, Table

from lockstep.errors import Transient, UsageError
from lockstep.registry.approvals import current as current_approval
from lockstep.warehouse import tables
from lockstep.warehouse.attempts import begin_attempt, read_attempt
from lockstep.warehouse.connect import engine, open_connection
from lockstep.warehouse.ledger import Ledger
from lockstep.warehouse.micro_batch import MicroBatch, Span
from lockstep.warehouse.migrate import MIGRATIONS, upgrade
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.publish import publish
from lockstep.warehouse.waiting import MIGRATION_LOCK
from tests.house import DAY, A, House
from tests.warehouse.older_release import name, old

__all__ = ["name", "old"]

BEFORE = "select source, event_id, event_time, score, available_at from predictions order by 1, 2"


def test_a_second_time_changes_nothing(warehouse_settings, name):
    first = upgrade(warehouse_settings, name)
    assert (first.before, first.changed) == (None, True)
    again = upgrade(warehouse_settings, name)
    assert (again.before, again.after, again.changed) == (first.after, first.after, False)


def test_all_at_once(warehouse_settings, name):
    """Four workers start with a new release: one migrates, the others find it done."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: upgrade(warehouse_settings, name), range(4)))
    assert sorted(f.changed for f in found) == [False, False, False, True]


def test_a_migration_that_fails_leaves_nothing(house, tmp_path):
    scripts = tmp_path / "warehouse"
    shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(path.name[:4] for path in (scripts / "versions").glob("*.py"))
    (scripts / "versions" / "9999_broken.py").write_text(
        f"from alembic import op\nrevision, down_revision = '9999', '{newest}'\n"
        "def upgrade():\n"
        "    op.execute('create table half_way (x int)')\n"
        "    op.execute('create table half_way (x int)')\n"
    )
    with pytest.raises(Exception, match="half_way"):
        upgrade(house.settings, house.use_case, scripts)
    assert house.connect().execute("select to_regclass('half_way')").fetchone() == (None,)
    assert not upgrade(house.settings, house.use_case).changed


def test_what_was_written_before_is_kept_and_no_longer_the_scorer_s(old):
    with old.connect() as conn:
        rows = conn.execute(BEFORE).fetchall()
        assert len(rows) == 6
        migrated = upgrade(old.settings, old.use_case)
        assert (migrated.before[:2], migrated.changed) == ("00", True)
        assert conn.execute(BEFORE).fetchall() == rows
        assert differences(old, tables.metadata) == []
    with old.connect("analyst") as analyst:
        for view, count in (("predictions", 6), ("latest_predictions", 6), ("window_audits", 0)):
            found = analyst.execute(f"select count(*) from {view}").fetchone()
            assert found == (count,)
        assert analyst.execute("select bool_or(incomplete) from predictions").fetchone() == (False,)
    with old.connect("owner") as owner:
        assert strangers_rights(owner) == []
        # A name that somebody typed is not a login that approved.
        assert owner.execute("select approver, given_name from approvals").fetchall() == [
            (None, "Ada")
        ]
    assert current_approval(old.connect()).who == "an unrecorded login (name given: Ada)"
    with old.connect() as conn:
        for table in ("predictions_stream_20131001", f"predictions_batch_20131001_{'ab' * 12}"):
            with pytest.raises(InsufficientPrivilege):
                conn.execute(f"update {table} set score = 0")
    with connect_as_it_logs_in(old) as login, pytest.raises(InsufficientPrivilege):
        login.execute(f"update {old.use_case}.predictions_batch_20131001_{'ab' * 12} set score = 0")


def strangers_rights(owner) -> list[tuple]:
    """Relations that are not the owner's, and rights beyond reading on a partition or a stage."""
    return owner.execute(
        "select c.relname, c.relacl::text from pg_class c"
        " where c.relnamespace = current_schema()::regnamespace and ("
        "   c.relowner <> current_user::regrole or c.relname ~ '_2013|^stage_' and exists ("
        "     select from (select c.relacl as acl union all select attacl from pg_attribute"
        "       where attrelid = c.oid) s, aclexplode(s.acl) e"
        "     where e.grantee <> c.relowner and e.privilege_type <> 'SELECT'))"
    ).fetchall()


def connect_as_it_logs_in(house: House):
    """The scorer's login without its role."""
    return open_connection(house.settings.url("scorer"), house.use_case)


def test_work_goes_on_where_the_older_release_stopped(old):
    upgrade(old.settings, old.use_case)
    with old.connect() as conn:
        # What it had staged is published; what it had published comes back without scoring.
        assert publish(conn, read_attempt(conn, 2)).how == "attached"
        back = old.begin(conn, rows=5, inputs="again")
        assert back.number == 3
        ensure_stream_day(conn, DAY)
        # Days that the older release made take rows of this one.
        ledger = Ledger(conn, "events")
        ledger.open("u")
        claim = ledger.claim(0, 0, 9)
        batch = MicroBatch(
            spans=[Span(0, 0, 1, claim.epoch)],
            ids=["after"],
            event_time=np.array([1_380_585_600_000_000]),
            entity=["e"],
            score=np.zeros(1, np.float32),
            margin=np.zeros(1, np.float32),
            partitions=np.zeros(1, np.int32),
            offsets=np.zeros(1, np.int64),
            approval=1,
            windows=np.ones((1, 2), np.float32),
            cut={"events": [1]},
        )
        assert ledger.write(batch) == 0


def test_an_older_publish_that_has_a_shorter_name_is_found(old):
    upgrade(old.settings, old.use_case)
    with old.connect() as conn:
        publish(conn, read_attempt(conn, 2))
        attempt = begin_attempt(
            conn, day=DAY, publish_id="ab" * 16, digest=A, model_version=1, approval=1,
            input_fingerprint="inputs", input_rows=5, run_id="back",
        )  # fmt: skip
        assert not attempt.needs_scoring
        assert publish(conn, attempt).how == "switched"


def test_a_server_without_room_for_the_locks_is_told_how_many_it_needs(old, monkeypatch):
    from lockstep.warehouse import strangers

    with monkeypatch.context() as patched:
        patched.setattr(strangers, "_SHARE", 1e-4)
        with pytest.raises(UsageError, match="tables and indexes at once") as refused:
            upgrade(old.settings, old.use_case)
    assert "set max_locks_per_transaction = " in refused.value.next
    assert strangers_rights(old.connect("owner")) != []  # as it was
    assert upgrade(old.settings, old.use_case).changed


def test_a_reader_who_holds_up_a_migration_is_named(old, monkeypatch):
    """A table is changed when nobody reads it, and whoever comes later waits behind us."""
    monkeypatch.setattr("lockstep.warehouse.migrate._PATIENCE", 0.2)
    analyst = old.connect("analyst")
    with analyst.transaction():
        analyst.execute("select count(*) from predictions")
        with pytest.raises(Transient, match="lock timeout") as told:
            upgrade(old.settings, old.use_case)
    assert f"server process {analyst.info.backend_pid}, user lockstep_analyst" in str(told.value)
    assert upgrade(old.settings, old.use_case).changed


def test_a_migration_does_not_wait_for_ever_and_names_who_holds_it_up(
    warehouse_settings, name, monkeypatch
):
    monkeypatch.setattr("lockstep.warehouse.migrate._PATIENCE", 0.1)
    upgrade(warehouse_settings, name)
    with House(warehouse_settings, name).connect("analyst") as analyst:
        analyst.execute("select pg_advisory_lock(%s, %s)", MIGRATION_LOCK)
        with pytest.raises(Transient, match="lock timeout") as told:
            upgrade(warehouse_settings, name)
        assert f"server process {analyst.info.backend_pid}, user lockstep_analyst" in str(
            told.value
        )
        assert f"application 'lockstep {name} analyst'" in str(told.value)
    assert not upgrade(warehouse_settings, name).changed


def test_a_login_that_may_not(warehouse_settings, name):
    wrong = warehouse_settings.model_copy(update={"owner_url": warehouse_settings.scorer_url})
    with pytest.raises(UsageError, match="lockstep_scorer may not migrate") as refused:
        upgrade(wrong, name)
    assert "LOCKSTEP_OWNER_URL" in str(refused.value)
    assert upgrade(warehouse_settings, name).changed


def differences(house, metadata: MetaData) -> list[object]:
    """What separates the migrated schema from `metadata`."""

    made = ("stage_", "predictions_batch_", "predictions_stream_")

    def ours(found: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or not str(found).startswith(made)

    engine_ = engine(house.settings, "owner", house.use_case)
    try:
        with engine_.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "version_table": "schema_version",
                    "include_name": ours,
                    "compare_server_default": True,
                },
            )
            return list(compare_metadata(context, metadata))
    finally:
        engine_.dispose()


def test_the_tables_in_the_code_are_the_tables_of_the_migrations(fresh_house):
    assert differences(fresh_house, tables.metadata) == []


def test_a_table_that_no_migration_makes_is_found(fresh_house):
    metadata = MetaData()
    for table in tables.metadata.sorted_tables:
        table.to_metadata(metadata)
    Table("forgotten", metadata, Column("x", Integer))
    metadata.tables["publish_log"].append_column(Column("forgotten", Integer))
    assert len(differences(fresh_house, metadata)) == 2


def test_partitioning_is_as_the_code_says(house):
    conn = house.connect()
    for table in (tables.predictions_batch, tables.predictions_stream):
        found = conn.execute("select pg_get_partkeydef(%s::regclass)", (table.name,)).fetchone()
        assert found == (table.dialect_options["postgresql"]["partition_by"],)
