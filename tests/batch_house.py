"""One deployed use case for batch tests: a schema, an approved model, a lake of each test's own."""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lockstep.batch.plan import Run
from lockstep.batch.steps import STEPS, Outcome
from lockstep.estimators.xgboost import XGBoostModel
from lockstep.lake import write_partition
from lockstep.local.mlflow.server import Mlflow
from lockstep.pipeline import Pipeline
from lockstep.registry.register import register
from lockstep.registry.release import approve_version
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect
from tests.small_model import REPOSITORY, departures, flights, small_booster, small_compiled

_DAYS = (date(2013, 3, 1) + timedelta(days=number) for number in itertools.count())


def flights_of(day: date) -> pa.Table:
    """The real departures of one UTC day."""
    table = flights()[departures().source]
    times = table[departures().time]
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    after = pc.greater_equal(times, pa.scalar(start, times.type))
    before = pc.less(times, pa.scalar(start + timedelta(days=1), times.type))
    return table.filter(pc.and_(after, before))


@dataclass
class BatchHouse:
    """A use case, and one day of it that no other test touches."""

    settings: Settings
    use_case: str
    root: Path
    """Has models/USE_CASE/pipeline.toml, and nothing else of a repository."""
    day: date

    def deploy(self) -> None:
        """Make the folder of the use case."""
        folder = self.root / "models" / self.use_case
        folder.mkdir(parents=True)
        shutil.copy(REPOSITORY / "models/flight_delay/pipeline.toml", folder)
        self.edit_pipeline('use_case = "flight_delay"', f'use_case = "{self.use_case}"')
        self.edit_pipeline('"flight_delay.', f'"{self.use_case}.')

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.load(self.use_case, self.root / "models")

    def edit_pipeline(self, old: str, new: str) -> None:
        path = self.root / "models" / self.use_case / "pipeline.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def write(self, table: pa.Table, batch: str = "history") -> None:
        write_partition(self.settings.lake, departures().source, self.day, batch, table)

    def write_flights(self) -> pa.Table:
        table = flights_of(self.day)
        self.write(table)
        return table

    def run(self, *names: str, facts: Run | None = None) -> list[Outcome]:
        """Run the named steps (all five when none is named), each with the facts before it."""
        outcomes = []
        given = facts or Run(use_case=self.use_case, day=self.day, run_id=uuid.uuid4().hex)
        for name in names or STEPS:
            outcomes.append(STEPS[name].run(self.settings, self.pipeline, given))
            given = outcomes[-1].facts
        return outcomes

    def approve(self, version: int) -> None:
        with connect(self.settings, "releaser", self.use_case) as connection:
            approve_version(
                self.settings,
                self.use_case,
                version,
                connection,
                reason="a batch needs a model",
            )

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with connect(self.settings, "scorer", self.use_case) as connection:
            return connection.execute(query, values).fetchall()

    def seen(self) -> list[tuple[Any, ...]]:
        """What readers see of the day: (id, time, entity, score bits, margin bits)."""
        return self.query(
            "select event_id, event_time, entity, float4send(score), float4send(margin)"
            " from predictions where event_date = %s and source = 'batch'"
            " order by event_id, event_time",
            self.day,
        )

    def stored(self) -> list[tuple[Any, ...]]:
        """Every stored row of the day, with its place on the disk and who wrote it."""
        return self.query(
            "select tableoid, ctid, xmin, cmin, p::text from predictions_batch p"
            " where event_date = %s order by 1, 2",
            self.day,
        )

    def attempts(self) -> list[tuple[Any, ...]]:
        return self.query(
            "select attempt, state, stage_table from batch_attempts where event_date = %s"
            " order by attempt",
            self.day,
        )

    def environment(self) -> dict[str, str]:
        """What a process of this deployment gets to see."""
        roles = ("scorer", "releaser", "analyst")
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("LOCKSTEP_")},
            "LOCKSTEP_HOME": str(self.settings.home),
            "LOCKSTEP_LAKE": self.settings.lake,
            "LOCKSTEP_MLFLOW": self.settings.mlflow,
            **{f"LOCKSTEP_{role.upper()}_URL": self.settings.url(role) for role in roles},
        }


@pytest.fixture(scope="session")
def batch_use_case(warehouse_settings: Settings, mlflow_server: Mlflow) -> tuple[Settings, str]:
    """A migrated use case with two registered versions; version 1 is approved."""
    settings = warehouse_settings.model_copy(update={"mlflow": mlflow_server.url})
    name = f"batch_{uuid.uuid4().hex[:8]}"
    migrate.upgrade(settings, name)
    for trees in (20, 10):
        made = small_compiled(trees, name)
        native = XGBoostModel(small_booster(trees)).file()
        register(settings, made.model, made.certificate, native=native, fingerprint=f"{trees}")
    return settings, name


@pytest.fixture
def batch_house(
    batch_use_case: tuple[Settings, str],
    tmp_path: Path,
) -> BatchHouse:
    """The use case with version 1 approved, an empty lake and a day of the test's own."""
    settings, name = batch_use_case
    settings = settings.model_copy(update={"lake": str(tmp_path / "lake")})
    house = BatchHouse(settings, name, tmp_path, next(_DAYS))
    house.deploy()
    newest = house.query("select model_version from approvals order by sequence desc limit 1")
    if newest != [(1,)]:
        house.approve(1)
    return house
