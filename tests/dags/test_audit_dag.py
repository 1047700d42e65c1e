"""The audit's DAG: one for each pipeline.toml, light to parse, and what its task asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from lockstep.audit.request import decode
from lockstep.launch import audit, audit_dag, audit_dags
from lockstep.launch import spark as spark_module
from lockstep.pipeline import Nightly, Pipeline
from tests.dags.test_dag_files import _HEAVY, parse
from tests.small_model import REPOSITORY

NIGHT = {"logical_date": datetime(2013, 3, 2, 6, 30, tzinfo=UTC), "run_id": "scheduled__1"}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load("flight_delay", REPOSITORY / "models")


def test_parsing_imports_nothing_heavy() -> None:
    parsed = parse(REPOSITORY / "dags/lockstep_audit.py")
    assert "flight_delay_audit" in parsed["dags"]
    assert not set(_HEAVY) & set(parsed["modules"])


def test_each_use_case_has_one(pipeline: Pipeline) -> None:
    names = Pipeline.use_cases(REPOSITORY / "models")
    assert sorted(audit_dags(REPOSITORY)) == sorted(f"{name}_audit" for name in names)


def test_the_schedule_is_the_pipeline_s(pipeline: Pipeline) -> None:
    by_hand = audit_dag(replace(pipeline, audit=Nightly()), REPOSITORY)
    assert by_hand.schedule is None
    nightly = audit_dag(replace(pipeline, audit=Nightly("30 6 * * *")), REPOSITORY)
    assert nightly.schedule.expression == "30 6 * * *"
    assert nightly.catchup is False
    assert (REPOSITORY / "jobs/audit_windows.py").samefile(nightly.tasks[0].application)


def test_the_task_asks_for_the_day_of_its_run(pipeline, monkeypatch) -> None:
    task = audit_dag(pipeline, REPOSITORY).get_task("audit_windows")
    monkeypatch.setattr(audit, "_stream_rows", lambda use_case, day: {pipeline.topics.events: 7})
    monkeypatch.setattr(spark_module, "_master", lambda: "spark://elsewhere")
    monkeypatch.setattr(SparkSubmitOperator, "execute", lambda self, context: None)
    task.execute(NIGHT)
    flag, text = task.application_args
    request = decode(text)
    assert flag == "--request"
    assert (request.use_case, request.day) == ("flight_delay", date(2013, 3, 2))
    assert request.topics["flight_departures"] == request.topic == pipeline.topics.events
    assert request.topics["flight_arrivals"] == pipeline.state["flight_arrivals"]


def test_a_day_without_predictions_is_skipped(pipeline, monkeypatch) -> None:
    task = audit_dag(pipeline, REPOSITORY).get_task("audit_windows")
    monkeypatch.setattr(audit, "_stream_rows", lambda use_case, day: {"another topic": 7})
    with pytest.raises(AirflowSkipException, match="scored no event of 2013-03-02"):
        task.execute(NIGHT)


def test_a_run_without_a_day_fails_at_once(pipeline) -> None:
    task = audit_dag(pipeline, REPOSITORY).get_task("audit_windows")
    with pytest.raises(AirflowFailException, match=r"names no day .*\n.*--logical-date"):
        task.execute({**NIGHT, "logical_date": None})
