"""Migrations: idempotent, whole or not at all, and equal to the tables in the code."""

from __future__ import annotations

import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table

from lockstep.errors import UsageError
from lockstep.warehouse import tables
from lockstep.warehouse.connect import engine
from lockstep.warehouse.ledger import Ledger, MicroBatch, Span
from lockstep.warehouse.migrate import MIGRATIONS, upgrade
from lockstep.warehouse.partitions import ensure_stream_day
from tests.house import DAY, House

BEFORE = "select source, event_id, event_time, score, available_at from predictions order by 1, 2"


@pytest.fixture
def name() -> str:
    return f"test_{uuid.uuid4().hex[:10]}"


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


def test_without_the_scripts(warehouse_settings, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="migrations are not at") as error:
        upgrade(warehouse_settings, name)
    assert "repository's root" in str(error.value)


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


def test_what_was_written_before_windows_is_kept(warehouse_settings, name, tmp_path):
    """A schema of the first release, with a publish and a stream in it, becomes today's."""
    scripts = tmp_path / "warehouse"
    ignored = shutil.ignore_patterns("__pycache__", "0002_*")
    shutil.copytree(MIGRATIONS, scripts, ignore=ignored)
    assert upgrade(warehouse_settings, name, scripts).after == "0001"
    house = House(warehouse_settings, name)
    house.approve()
    with house.connect() as conn:
        house.published(conn)
        ensure_stream_day(conn, DAY)
        conn.execute("insert into streams (topic, topic_uuid) values ('events', 'u')")
        conn.execute(
            "insert into predictions_stream (event_date, stream_id, event_id, event_time, score,"
            " approval, kafka_partition, kafka_offset)"
            " values (%s, 1, 'before', %s::date + interval '1 hour', 0.25, 1, 0, 0)",
            (DAY, DAY),
        )
        rows = conn.execute(BEFORE).fetchall()
        assert len(rows) == 6
        migrated = upgrade(warehouse_settings, name)
        assert (migrated.before, migrated.changed) == ("0001", True)
        assert conn.execute(BEFORE).fetchall() == rows
        assert differences(house, tables.metadata) == []
    with house.connect("analyst") as analyst:
        for view, count in (("predictions", 6), ("latest_predictions", 6), ("window_audits", 0)):
            found = analyst.execute(f"select count(*) from {view}").fetchone()
            assert found == (count,)
        assert analyst.execute("select bool_or(incomplete) from predictions").fetchone() == (False,)
    with house.connect() as conn:
        # Days that the first release made take rows of this one.
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
