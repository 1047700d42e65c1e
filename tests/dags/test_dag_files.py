"""A DAG file: one DAG for each pipeline.toml, made of the five steps, and light to parse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from lockstep import errors
from lockstep.batch.steps import STEPS
from lockstep.launch import batch_dag, batch_dags, tell_of_refused
from lockstep.launch.failing import told_to_airflow
from lockstep.launch.runs import dags_of, faults_of
from lockstep.launch.spark import SparkJob
from lockstep.pipeline import Pipeline
from tests.small_model import REPOSITORY
from tests.until import LIMIT_S

_HEAVY = ("numpy", "pandas", "pyspark", "mlflow", "pyarrow", "onnxruntime", "great_expectations")
_PARSE = """
import json, sys
{before}
import runpy
found = runpy.run_path({file!r})
from airflow.sdk import DAG
print(json.dumps({{
    "dags": sorted(value.dag_id for value in found.values() if isinstance(value, DAG)),
    "modules": sorted(sys.modules),
}}))
"""


def parse(file: Path, before: str = "") -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _PARSE.format(before=before, file=str(file))],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_parsing_imports_nothing_heavy() -> None:
    parsed = parse(REPOSITORY / "dags/lockstep_batch.py")
    assert "flight_delay_batch" in parsed["dags"]
    assert not set(_HEAVY) & set(parsed["modules"])
    loaded = {name for name in parsed["modules"] if name.startswith("models")}
    assert not loaded, "a DAG reads models/*/pipeline.toml, and imports no model"


def test_the_list_of_heavy_modules_would_notice_one() -> None:
    parsed = parse(REPOSITORY / "dags/lockstep_batch.py", before="import numpy")
    assert set(_HEAVY) & set(parsed["modules"]) == {"numpy"}


def test_each_use_case_has_a_dag_of_its_own(tmp_path: Path) -> None:
    original = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "pipeline.toml").write_text(
            original.replace('"flight_delay', f'"{name}')
        )
    (tmp_path / "models" / "not_deployed").mkdir()
    (tmp_path / "dags").mkdir()
    shutil.copy(REPOSITORY / "dags/lockstep_batch.py", tmp_path / "dags")
    assert parse(tmp_path / "dags/lockstep_batch.py")["dags"] == ["one_batch", "two_batch"]
    assert sorted(batch_dags(tmp_path)) == ["one_batch", "two_batch"]


@pytest.mark.parametrize("file", ["lockstep_batch.py", "lockstep_land.py", "lockstep_audit.py"])
def test_a_broken_use_case_takes_no_dag_along(tmp_path: Path, file: str) -> None:
    shutil.copytree(REPOSITORY / "dags", tmp_path / "dags")
    for name in ("flight_delay", "blood_glucose"):
        (tmp_path / "models" / name).mkdir(parents=True)
        shutil.copy(REPOSITORY / f"models/{name}/pipeline.toml", tmp_path / "models" / name)
    whole = parse(tmp_path / "dags" / file)["dags"]
    assert len(whole) == 2
    (tmp_path / "models/broken").mkdir()
    (tmp_path / "models/broken/pipeline.toml").write_text("use_case =")
    assert parse(tmp_path / "dags" / file)["dags"] == whole


def test_use_cases_without_dags_are_told_by_a_file_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="has no folder with a pipeline"):
        tell_of_refused(tmp_path)
    for name in ("flight_delay", "copied"):
        (tmp_path / "models" / name).mkdir(parents=True)
        shutil.copy(REPOSITORY / "models/flight_delay/pipeline.toml", tmp_path / "models" / name)
    with pytest.raises(errors.UsageError) as told:
        tell_of_refused(tmp_path)
    assert "copied/pipeline.toml: use_case is 'flight_delay'" in str(told.value)
    assert str(told.value).count("pipeline.toml: ") == 1, "each is told once"
    shutil.rmtree(tmp_path / "models/copied")
    tell_of_refused(tmp_path)


_BAG = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors}))
"""


def test_airflow_keeps_the_good_dags_and_shows_an_import_error(tmp_path: Path) -> None:
    """As its dag processor reads the folder: only files that look like DAGs to it."""
    shutil.copytree(REPOSITORY / "dags", tmp_path / "dags")
    for name in ("flight_delay", "copied"):
        (tmp_path / "models" / name).mkdir(parents=True)
        shutil.copy(REPOSITORY / "models/flight_delay/pipeline.toml", tmp_path / "models" / name)
    done = subprocess.run(
        [sys.executable, "-c", _BAG, str(tmp_path / "dags")],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow")},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["dags"] == [f"flight_delay_{what}" for what in ("audit", "batch", "land")]
    ((file, error),) = found["errors"].items()
    assert file.endswith("dags/lockstep_refused.py")
    assert "copied/pipeline.toml: use_case is 'flight_delay'" in error


def test_a_dag_that_cannot_be_made_takes_no_other_along(tmp_path: Path) -> None:
    for name in ("flight_delay", "blood_glucose"):
        (tmp_path / "models" / name).mkdir(parents=True)
        shutil.copy(REPOSITORY / f"models/{name}/pipeline.toml", tmp_path / "models" / name)

    def made(pipeline: Pipeline, root: Path) -> DAG:
        if pipeline.use_case == "blood_glucose":
            raise ValueError("as Airflow does")
        return batch_dag(pipeline, root)

    assert list(dags_of(tmp_path, made)) == ["flight_delay_batch"]
    (fault,) = faults_of(tmp_path, made)
    assert "models/blood_glucose/pipeline.toml: as Airflow does" in fault


def test_the_tasks_are_the_steps_in_their_order() -> None:
    dag = batch_dag(Pipeline.load("flight_delay", REPOSITORY / "models"), REPOSITORY)
    assert [task.task_id for task in dag.topological_sort()] == list(STEPS)
    for before, after in zip(STEPS, list(STEPS)[1:], strict=False):
        assert after in dag.get_task(before).downstream_task_ids
    assert [task.task_id for task in dag.tasks if task.outlets] == ["publish"]
    assert {task.retries for task in dag.tasks} == {2}
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.get_task("score").application == str(REPOSITORY / "jobs/score_partition.py")
    assert Path(dag.get_task("score").application).is_file()


@pytest.mark.parametrize("day", [date(2013, 3, 10), date(2013, 10, 1), date(2013, 12, 31)])
def test_the_run_of_a_logical_date_covers_that_utc_day(day: date) -> None:
    dag = batch_dag(Pipeline.load("flight_delay", REPOSITORY / "models"), REPOSITORY)
    schedule = CronDataIntervalTimetable(dag.schedule.expression, dag.schedule.timezone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    info = schedule.next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(midnight, midnight + timedelta(days=5), True),
    )
    assert info is not None
    assert info.logical_date == midnight
    assert info.data_interval.start == midnight
    assert info.data_interval.end == midnight + timedelta(days=1)


def test_a_run_without_a_day_fails_at_once() -> None:
    """What somebody gets who presses the button in Airflow and gives no date."""
    dag = batch_dag(Pipeline.load("flight_delay", REPOSITORY / "models"), REPOSITORY)
    begin = dag.get_task("resolve_model").python_callable
    with pytest.raises(AirflowFailException, match=r"names no day .*\n.*--logical-date"):
        begin("flight_delay", "models", logical_date=None, run_id="manual")


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, AirflowException), (2, AirflowFailException), (3, AirflowFailException)],
)
def test_airflow_tries_a_job_again_unless_its_exit_code_says_that_this_is_useless(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    """The exit codes are those of `lockstep.exits`; how the hook words them, a real run shows."""

    def execute(*_: object) -> None:
        raise AirflowException(f"Cannot execute: spark-submit. Error code is: {code}.")

    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", '{"conn_type": "spark", "host": "local[1]"}')
    monkeypatch.setattr(SparkSubmitOperator, "execute", execute)
    dag = batch_dag(Pipeline.load("flight_delay", REPOSITORY / "models"), REPOSITORY)
    with pytest.raises(AirflowException) as raised:
        SparkJob.execute(dag.get_task("score"), {})
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in map(errors.__dict__.__getitem__, errors.__all__)
        if isinstance(kind, type) and issubclass(kind, errors.LockstepError)
    ],
)
def test_airflow_tries_again_exactly_what_may_pass(kind: type[errors.LockstepError]) -> None:
    terminal = issubclass(kind, errors.Terminal)
    with pytest.raises(AirflowFailException if terminal else kind) as raised, told_to_airflow():
        raise kind("what is wrong", next="what to type")
    assert "what is wrong\nnext: what to type" in str(raised.value)
