"""A job that is killed, and services that go away: nothing visible, and the rerun works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from lockstep.batch.plan import Plan, encode
from lockstep.errors import Transient, Unreachable
from lockstep.exits import FOR_GOOD, WRONG_USAGE
from tests.batch_house import BatchHouse, flights_of
from tests.small_model import REPOSITORY
from tests.streaming.proxy import Proxy
from tests.until import LIMIT_S, until

_FILES = 30


class Job:
    """jobs/score_partition.py in processes of its own, one file of the lake a task."""

    def __init__(self, house: BatchHouse, plan: Plan, **environment: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(REPOSITORY / "jobs/score_partition.py")),
                *("--plan", encode(plan), "--master", "local[1]"),
            ],
            cwd=house.root,
            env={
                **house.environment(),
                "PYSPARK_SUBMIT_ARGS": "--conf spark.sql.files.maxPartitionBytes=100000"
                " pyspark-shell",
                **environment,
            },
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> None:
        """Driver, JVM and Python workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output


@pytest.fixture
def start() -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def begin(house: BatchHouse, plan: Plan, **environment: str) -> Job:
        jobs.append(Job(house, plan, **environment))
        return jobs[-1]

    yield begin
    for job in jobs:
        if job.process.poll() is None:
            job.kill()


def planned(house: BatchHouse, files: int) -> Plan:
    """A checked day of so many files."""
    table = flights_of(house.day)
    size = -(-table.num_rows // files)
    for number in range(files):
        house.write(table.slice(number * size, size), f"b{number:03d}")
    *_, checked = house.run("resolve_model", "check_events")
    assert isinstance(checked.facts, Plan)
    return checked.facts


def halfway(house: BatchHouse) -> bytes:
    """An event of the file that the job comes to after half of the others: it begins with the
    largest."""
    files = sorted(Path(house.settings.lake).rglob("*.parquet"), key=lambda f: -f.stat().st_size)
    return str(pq.read_table(files[len(files) // 2])["event_id"][0]).encode()


def staged_rows(house: BatchHouse) -> int:
    tables = [table for _, state, table in house.attempts() if state == "staging"]
    return house.query(f"select count(*) from {tables[-1]}")[0][0] if tables else 0


def test_a_job_killed_in_the_middle_leaves_nothing_visible(
    batch_house: BatchHouse, start: Callable[..., Job]
) -> None:
    plan = planned(batch_house, _FILES)
    with Proxy.of(batch_house.settings.url("scorer")) as proxy:
        proxy.at(halfway(batch_house), proxy.freeze)
        job = start(batch_house, plan, LOCKSTEP_SCORER_URL=proxy.url)
        until(proxy.reached.is_set, "half of the rows are staged")
        job.kill()
    assert 0 < staged_rows(batch_house) < plan.input_rows
    assert batch_house.seen() == []
    code, output = start(batch_house, plan).end()
    assert code == 0, output
    assert f"scored {plan.input_rows:,} events" in output
    batch_house.run("check_predictions", "publish", facts=plan)
    assert len(batch_house.seen()) == plan.input_rows
    states = [(state, table) for _, state, table in batch_house.attempts()]
    assert states == [("abandoned", None), ("published", None)]


def test_a_warehouse_that_goes_away_while_rows_are_staged(
    batch_house: BatchHouse, start: Callable[..., Job]
) -> None:
    plan = planned(batch_house, _FILES)
    with Proxy.of(batch_house.settings.url("scorer")) as proxy:
        proxy.at(halfway(batch_house), proxy.cut)
        code, output = start(batch_house, plan, LOCKSTEP_SCORER_URL=proxy.url).end()
    assert proxy.reached.is_set()
    assert code == 1, output
    assert "Unreachable: the warehouse at 127.0.0.1" in output
    assert "next: " in output
    assert batch_house.seen() == []
    batch_house.run()
    assert len(batch_house.seen()) == plan.input_rows


def test_the_job_says_for_good_when_trying_again_cannot_help(
    batch_house: BatchHouse, start: Callable[..., Job]
) -> None:
    plan = planned(batch_house, 1)
    batch_house.write(flights_of(batch_house.day).slice(0, 100), "b000")
    code, output = start(batch_house, plan).end()
    assert code == FOR_GOOD, output
    assert "LakeError: flight_departures/date=" in output
    assert "changed after it was checked" in output


@pytest.mark.parametrize("step", ["resolve_model", "check_events", "score", "check_predictions"])
def test_a_warehouse_that_is_down(batch_house: BatchHouse, step: str) -> None:
    batch_house.write_flights()
    steps = ["resolve_model", "check_events", "score", "check_predictions"]
    before = steps[: steps.index(step)]
    facts = batch_house.run(*before)[-1].facts if before else None
    with Proxy.of(batch_house.settings.url("scorer")) as proxy:
        settings = batch_house.settings
        batch_house.settings = settings.model_copy(update={"scorer_url": SecretStr(proxy.url)})
        proxy.cut()
        with pytest.raises(Unreachable, match=r"the warehouse at 127\.0\.0\.1:\d+") as raised:
            batch_house.run(step, facts=facts)
        batch_house.settings = settings
    assert isinstance(raised.value, Transient)
    assert batch_house.seen() == []
    if step == "score":
        batch_house.run(step, "check_predictions", "publish", facts=facts)
        assert len(batch_house.seen()) > 0


def test_a_warehouse_that_goes_away_between_check_and_publish(batch_house: BatchHouse) -> None:
    batch_house.write_flights()
    facts = batch_house.run("resolve_model", "check_events", "score")[-1].facts
    with Proxy.of(batch_house.settings.url("scorer")) as proxy:
        settings = batch_house.settings
        batch_house.settings = settings.model_copy(update={"scorer_url": SecretStr(proxy.url)})
        batch_house.run("check_predictions", facts=facts)
        proxy.cut()
        with pytest.raises(Unreachable):
            batch_house.run("publish", facts=facts)
        batch_house.settings = settings
    assert batch_house.seen() == []
    batch_house.run("publish", facts=facts)
    assert len(batch_house.seen()) == facts.input_rows


def test_a_registry_that_is_down_stops_nobody_who_has_the_bytes(
    batch_house: BatchHouse, tmp_path: Path
) -> None:
    batch_house.write_flights()
    batch_house.settings = batch_house.settings.model_copy(update={"mlflow": "http://127.0.0.1:1"})
    batch_house.run()
    assert len(batch_house.seen()) > 0
    batch_house.settings = batch_house.settings.model_copy(update={"home": tmp_path / "fresh"})
    with pytest.raises(Unreachable, match=r"registry at http://127\.0\.0\.1:1"):
        batch_house.run()


def test_a_java_that_is_not_there(batch_house: BatchHouse, start: Callable[..., Job]) -> None:
    plan = planned(batch_house, 1)
    code, output = start(batch_house, plan, JAVA_HOME="/nonexistent").end()
    assert code == WRONG_USAGE, output
    assert "Spark could not start a Java (JAVA_HOME is '/nonexistent')" in output
    assert batch_house.seen() == []
