"""What one reads of a Spark job: our own lines and why it failed, not how Spark goes about it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.local.home import Home
from lockstep.spark.java import find_java
from lockstep.spark.session import LOCAL_ENVIRONMENT, LOCAL_SPARK
from tests.small_model import REPOSITORY

_JOB = """
import sys
from lockstep.exits import FOR_GOOD, ended
from lockstep.spark.session import spark_session

fails = "fail" in sys.argv

def rows(frames):
    for frame in frames:
        if fails:
            raise ValueError("the reason")
        yield frame

def work():
    print("the first line", flush=True)
    master = "local[1]" if "terminal" in sys.argv else None
    with spark_session("a job", master, left="nothing", next="look") as spark:
        counted = spark.range(9).selectExpr("id % 3 as k").groupBy("k").count()
        print("rows:", len(counted.mapInPandas(rows, counted.schema).collect()), flush=True)
    print("the last line", flush=True)

sys.exit(ended(work, terminal=FOR_GOOD))
"""
_OURS = ["the first line", "rows: 3", "the last line"]
_PROGRESS = re.compile(r"\d\d:\d\d:\d\d INFO ")


@pytest.fixture
def environment(stack_home: Home, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What Airflow of the local stack gives its tasks, and `lockstep score` its Spark."""
    # A Java that somebody chose is taken as it is, with what it says at its start.
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return {
        **os.environ,
        **LOCAL_ENVIRONMENT,
        "JAVA_HOME": str(find_java(stack_home.root).home),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job file like those of jobs/."""
    file = tmp_path / "job.py"
    file.write_text(_JOB)
    return file


def run(environment: dict[str, str], *command: object) -> tuple[int, list[str]]:
    """Exit code and lines of both outputs, in their order."""
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout.splitlines()


def submit(
    environment: dict[str, str], conf: dict[str, str], *job: object
) -> tuple[int, list[str]]:
    """As Airflow's hook does it on a local master."""
    settings = [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
    program = Path(sys.executable).with_name("spark-submit")
    return run(environment, program, "--master", "local[1]", *settings, *job)


def test_a_submitted_job_says_what_it_has_to_say_and_nothing_else(
    environment: dict[str, str], job: Path
) -> None:
    assert submit(environment, LOCAL_SPARK, job) == (0, _OURS)


def test_without_our_settings_its_lines_are_lost_in_spark_s(
    environment: dict[str, str], job: Path
) -> None:
    loud = {k: v for k, v in LOCAL_SPARK.items() if k != "spark.driver.extraJavaOptions"}
    code, lines = submit(environment, loud, job)
    assert code == 0
    assert len([line for line in lines if _PROGRESS.search(line)]) > 50


def test_a_job_in_a_terminal_is_as_quiet(environment: dict[str, str], job: Path) -> None:
    assert run(environment, sys.executable, job, "terminal") == (0, _OURS)


def test_a_job_that_fails_shows_the_whole_cause(environment: dict[str, str], job: Path) -> None:
    code, lines = submit(environment, LOCAL_SPARK, job, "fail")
    assert code == 3
    assert not [line for line in lines if _PROGRESS.search(line)]
    output = "\n".join(lines)
    # The place in our code, from Spark's own account; and what it means, from ours.
    assert 'raise ValueError("the reason")' in output
    assert re.search(r"^SparkFailed: Spark failed: .*ValueError: the reason$", output, re.M)
    assert output.endswith("left behind: nothing\nnext: look")
