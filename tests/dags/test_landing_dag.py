"""The landing's DAG: one task, the job, and what it is started with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from lockstep.launch import landing_dag
from lockstep.pipeline import Pipeline
from tests.dags.test_dag_files import _HEAVY, parse
from tests.small_model import REPOSITORY


def test_parsing_imports_nothing_heavy(tmp_path: Path) -> None:
    """Each use case has a landing, and reading the file loads no engine."""
    (tmp_path / "models" / "one").mkdir(parents=True)
    original = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
    (tmp_path / "models/one/pipeline.toml").write_text(
        original.replace('use_case = "flight_delay"', 'use_case = "one"')
    )
    (tmp_path / "dags").mkdir()
    shutil.copy(REPOSITORY / "dags/lockstep_land.py", tmp_path / "dags")
    parsed = parse(tmp_path / "dags/lockstep_land.py")
    assert parsed["dags"] == ["one_land"]
    assert not set(_HEAVY) & set(parsed["modules"])


@pytest.mark.parametrize(("topic", "more"), [(None, []), ("replayed", ["--topic", "replayed"])])
def test_the_job_is_told_what_to_land(
    topic: str | None, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = landing_dag(Pipeline.load("flight_delay", REPOSITORY / "models"), REPOSITORY)
    (task,) = dag.tasks
    submitted: list[SparkSubmitOperator] = []
    monkeypatch.setattr(SparkSubmitOperator, "execute", lambda self, _: submitted.append(self))
    monkeypatch.setattr("lockstep.launch.spark._master", lambda: "spark://cluster:7077")
    context: Any = {"params": {"topic": topic}}
    task.execute(context)
    (job,) = submitted
    root = ["--use-case", "flight_delay", "--root", str(REPOSITORY)]
    assert job.application_args == [*root, *more]
    assert Path(job.application).is_file()
    assert (dag.max_active_runs, dag.catchup) == (1, False)
