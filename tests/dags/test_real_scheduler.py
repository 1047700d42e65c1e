"""The DAG in a real Airflow: scheduler, API server and tasks, over a real warehouse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

import pytest

from lockstep.lake import write_partition
from lockstep.local.airflow.server import PARTS, Airflow
from lockstep.local.home import Home, silent
from lockstep.local.postgres.server import Postgres
from lockstep.local.service import stop
from lockstep.settings import Settings
from tests.batch_house import BatchHouse, flights_of
from tests.small_model import REPOSITORY, departures
from tests.until import LIMIT_S
from tests.until import until as poll

until = partial(poll, pause_s=0.2)
"""Airflow has better things to do than to answer more often."""
FIRST, SECOND = date(2013, 10, 1), date(2013, 10, 2)
MISSING, UNLIKELY = date(2013, 10, 5), date(2013, 10, 8)


class Orchestrator:
    """A running Airflow whose repository has one use case."""

    def __init__(self, airflow: Airflow, house: BatchHouse) -> None:
        self.airflow, self.house = airflow, house
        self.dag = f"{house.use_case}_batch"
        user, password = airflow.login
        self._token = ""
        login = {"username": user, "password": password}
        self._token = self.call("POST", "/auth/token", login)["access_token"]

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own stack
            self.airflow.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *words],
            env=self.airflow.environment(),
            cwd=self.house.root,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def backfill(self, first: date, last: date) -> None:
        def idle() -> bool:
            known = self.call("GET", f"/api/v2/backfills?dag_id={self.dag}")["backfills"]
            return all(backfill["completed_at"] for backfill in known)

        until(idle, "the backfill before is closed: a DAG may have one at a time")
        self.command(
            *("backfill", "create", "--dag-id", self.dag),
            *("--from-date", str(first), "--to-date", str(last)),
        )

    def clear(self, run: str, *tasks: str) -> None:
        """Run the whole run again, or some tasks of it and what follows them."""
        which = {"task_ids": tasks, "include_downstream": True} if tasks else {}
        self.call(
            "POST",
            f"/api/v2/dags/{self.dag}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": run,
                "only_failed": False,
                "reset_dag_runs": True,
                **which,
            },
        )

    def runs(self) -> dict[str, dict[str, Any]]:
        """Day -> its run."""
        found = self.call("GET", f"/api/v2/dags/{self.dag}/dagRuns?limit=100")["dag_runs"]
        return {run["logical_date"][:10]: run for run in found if run["logical_date"]}

    def ended(self, *days: date, after: str = "") -> dict[str, dict[str, Any]]:
        """Wait until the runs of `days` have ended, later than `after`."""

        def over() -> bool:
            runs = self.runs()
            ended = [runs.get(str(day), {}) for day in days]
            return all(
                run.get("state") in ("success", "failed") and (run["end_date"] or "") > after
                for run in ended
            )

        until(over, f"the runs of {[str(day) for day in days]} have ended")
        runs = self.runs()
        return {str(day): runs[str(day)] for day in days}

    def tasks(self, run: str) -> dict[str, dict[str, Any]]:
        path = f"/api/v2/dags/{self.dag}/dagRuns/{run}/taskInstances"
        return {t["task_id"]: t for t in self.call("GET", path)["task_instances"]}

    def log(self, run: str, task: str) -> str:
        """The log of a task's last try."""
        attempt = self.tasks(run)[task]["try_number"]
        path = f"/api/v2/dags/{self.dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        return json.dumps(self.call("GET", path)["content"])


@pytest.fixture(scope="module")
def orchestrator(
    batch_use_case: tuple[Settings, str],
    stack_home: Home,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Orchestrator]:
    """Airflow over a repository with one use case, and a lake with two days."""
    settings, name = batch_use_case
    root = tmp_path_factory.mktemp("repository")
    settings = settings.model_copy(update={"lake": str(root / "lake")})
    house = BatchHouse(settings, name, root, FIRST)
    house.deploy()
    house.approve(1)
    for folder in ("dags", "jobs"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    for day in (FIRST, SECOND):
        write_partition(settings.lake, departures().source, day, "history", flights_of(day))
    airflow = Airflow(stack_home, postgres, root, "local[2]")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in house.environment().items():
            if variable.startswith("LOCKSTEP_"):
                patch.setenv(variable, value)
        try:
            airflow.start(silent)
            orchestrator = Orchestrator(airflow, house)
            dag = f"/api/v2/dags/{orchestrator.dag}"

            def unpaused() -> bool:
                try:
                    orchestrator.call("PATCH", dag, {"is_paused": False})
                except OSError:
                    return False
                return True

            until(unpaused, "the dag processor has found the DAG")
            yield orchestrator
        finally:
            stop(stack_home, list(PARTS))


@pytest.fixture(scope="module")
def backfilled(orchestrator: Orchestrator) -> dict[str, dict[str, Any]]:
    """Day -> its run, of a backfill over both days."""
    orchestrator.backfill(FIRST, SECOND)
    return orchestrator.ended(FIRST, SECOND)


def test_a_backfill_scores_and_publishes_each_day(
    orchestrator: Orchestrator, backfilled: dict[str, dict[str, Any]]
) -> None:
    house, runs = orchestrator.house, backfilled
    assert {run["state"] for run in runs.values()} == {"success"}
    for day in (FIRST, SECOND):
        house.day = day
        assert len(house.seen()) == flights_of(day).num_rows
    assert sorted(orchestrator.runs()) == [str(FIRST), str(SECOND)], "no day was run unasked"
    told = orchestrator.log(runs[str(FIRST)]["dag_run_id"], "score")
    assert f"scored {flights_of(FIRST).num_rows:,} events" in told
    assert not re.search(r"\d\d:\d\d:\d\d (INFO|WARN) ", told), "what Spark says of itself"


def test_a_run_that_is_cleared_changes_no_byte(
    orchestrator: Orchestrator, backfilled: dict[str, dict[str, Any]]
) -> None:
    house = orchestrator.house
    house.day = FIRST
    # As it is now: it may have been cleared before.
    before = orchestrator.ended(FIRST)[str(FIRST)]
    stored, log = house.stored(), house.query("select * from publish_log order by attempt")
    assert stored
    run = before["dag_run_id"]
    orchestrator.clear(run)
    after = orchestrator.ended(FIRST, after=before["end_date"])[str(FIRST)]
    assert after["state"] == "success"
    assert house.stored() == stored
    assert house.query("select * from publish_log order by attempt") == log
    assert {t["state"] for t in orchestrator.tasks(run).values()} == {"success"}
    assert "nothing was scored" in orchestrator.log(run, "score")
    assert "nothing changed" in orchestrator.log(run, "publish")


def test_a_day_that_cannot_be_scored_fails_at_once_and_says_why(
    orchestrator: Orchestrator,
) -> None:
    house = orchestrator.house
    house.day = MISSING
    orchestrator.backfill(MISSING, MISSING)
    run = orchestrator.ended(MISSING)[str(MISSING)]
    assert run["state"] == "failed"
    tasks = orchestrator.tasks(run["dag_run_id"])
    assert tasks["check_events"]["state"] == "failed"
    assert tasks["check_events"]["try_number"] == 1, "what cannot succeed is not tried again"
    assert tasks["score"]["state"] == "upstream_failed"
    told = orchestrator.log(run["dag_run_id"], "check_events")
    assert f"has no partition flight_departures/date={MISSING}" in told
    assert "next: load the events" in told
    assert house.seen() == []


def test_a_refused_use_case_is_an_import_error_and_the_others_go_on(
    orchestrator: Orchestrator,
) -> None:
    """A copied folder with the old name, and one with a wrong key."""
    models = orchestrator.house.root / "models"
    text = (models / orchestrator.house.use_case / "pipeline.toml").read_text()
    errors: list[dict[str, Any]] = []

    def import_errors() -> list[dict[str, Any]]:
        errors[:] = orchestrator.call("GET", "/api/v2/importErrors")["import_errors"]
        return errors

    def dag() -> dict[str, Any]:
        return dict(orchestrator.call("GET", f"/api/v2/dags/{orchestrator.dag}"))

    def both_are_told() -> bool:
        # It may have read the folders when the first of them was there.
        told = "".join(error["stack_trace"] for error in import_errors())
        return "copied/" in told and "broken/" in told

    assert import_errors() == []
    for name, content in {
        "copied": text,
        "broken": text.replace("max_batch", "max_bacth").replace(
            f'use_case = "{orchestrator.house.use_case}"', 'use_case = "broken"'
        ),
    }.items():
        (models / name).mkdir()
        (models / name / "pipeline.toml").write_text(content)
    try:
        until(both_are_told, "Airflow shows both in one import error")
        (error,) = errors
        assert error["filename"].endswith("lockstep_refused.py")
        assert "copied/pipeline.toml: use_case is" in error["stack_trace"]
        assert "broken/pipeline.toml: unknown key stream.max_bacth" in error["stack_trace"]
        seen = error["timestamp"]
        until(
            lambda: dag()["last_parsed_time"] > seen,
            "the good DAG was read after that",
        )
        assert (dag()["is_stale"], dag()["has_import_errors"]) == (False, False)
        known = orchestrator.call("GET", "/api/v2/dags?limit=100")["dags"]
        assert not [d for d in known if d["dag_id"].startswith(("copied", "broken"))]
    finally:
        for name in ("copied", "broken"):
            shutil.rmtree(models / name)
    until(lambda: not import_errors(), "the import error is gone with its reason")


def test_what_misses_a_gate_or_changes_underway_is_not_tried_again(
    orchestrator: Orchestrator,
) -> None:
    house = orchestrator.house
    house.day = UNLIKELY
    house.write_flights()
    house.edit_pipeline("max_mean_score = 0.9", "max_mean_score = 0.021")
    orchestrator.backfill(UNLIKELY, UNLIKELY)
    run = orchestrator.ended(UNLIKELY)[str(UNLIKELY)]
    checked = orchestrator.tasks(run["dag_run_id"])["check_predictions"]
    assert (checked["state"], checked["try_number"]) == ("failed", 1)
    told = orchestrator.log(run["dag_run_id"], "check_predictions")
    assert "expect_column_mean_to_be_between(score)" in told
    assert house.seen() == []
    # Once more from `score` on, whose plan names other bytes than there are now: the Spark job's
    # exit code must tell Airflow that trying again is useless.
    house.write(flights_of(UNLIKELY).slice(0, 300), "late")
    orchestrator.clear(run["dag_run_id"], "score")
    ended = orchestrator.ended(UNLIKELY, after=run["end_date"])[str(UNLIKELY)]
    assert ended["state"] == "failed"
    scored = orchestrator.tasks(run["dag_run_id"])["score"]
    assert (scored["state"], scored["try_number"]) == ("failed", 2)
    assert "changed after it was checked" in orchestrator.log(run["dag_run_id"], "score")
