"""The whole stack, really started: it serves, stays on loopback, heals, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockstep.local.home import Home, silent
from lockstep.local.service import running_pid, stragglers
from lockstep.local.stack import Stack, down, status, up
from lockstep.settings import Settings
from tests.until import LIMIT_S, until

PROBE = """
import json, os, pathlib, subprocess
from airflow.sdk import DAG, task

with DAG("probe", schedule=None):
    @task
    def look():
        import from_the_root
        java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
        facts = {"answer": from_the_root.ANSWER, "java": java, "cwd": os.getcwd(),
                 "home": os.environ["LOCKSTEP_HOME"],
                 "spark": json.loads(os.environ["AIRFLOW_CONN_SPARK_DEFAULT"])["host"]}
        found = pathlib.Path(os.environ["LOCKSTEP_HOME"], "probe.json")
        found.with_suffix(".new").write_text(json.dumps(facts))
        found.with_suffix(".new").rename(found)
    look()
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    repository = tmp_path_factory.mktemp("repository")
    (repository / "dags").mkdir()
    (repository / "dags" / "probe.py").write_text(PROBE)
    (repository / "from_the_root.py").write_text("ANSWER = 42\n")
    settings = Settings(home=repository / ".lockstep", spark_master="local[1]")
    try:
        assert up(settings, repository=repository) is True
        yield settings
    finally:
        down(settings)


def states(settings: Settings) -> dict[str, str]:
    return {row.name: row.state for row in status(settings)}


def call(address: str, method: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  our own stack
        address,
        method=method,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
        return dict(json.loads(answer.read()))


def test_everything_serves_and_a_second_up_is_a_no_op(settings: Settings) -> None:
    before = status(settings)
    assert {row.state for row in before} == {"running"}
    assert len(before) == 7
    assert up(settings, repository=settings.home.parent) is False
    assert [row.pid for row in status(settings)] == [row.pid for row in before]


def test_nothing_listens_beyond_loopback(settings: Settings) -> None:
    listening = {
        (link.laddr.ip, psutil.Process(pid).name())
        for pid in stragglers(Home(settings.home))
        for link in psutil.Process(pid).net_connections()
        if link.status == psutil.CONN_LISTEN
    }
    assert len(listening) >= 4
    assert {ip for ip, _ in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_no_command_line_shows_a_secret(settings: Settings) -> None:
    secrets = json.loads((settings.home / "secrets.json").read_text()).values()
    for pid in stragglers(Home(settings.home)):
        line = " ".join(psutil.Process(pid).cmdline())
        assert not [secret for secret in secrets if secret in line]


def test_a_task_imports_from_the_repository_and_has_java_and_settings(settings: Settings) -> None:
    airflow = Stack(settings).airflow
    user, password = airflow.login
    login = {"username": user, "password": password}
    token = call(f"{airflow.url}/auth/token", "POST", login)["access_token"]
    probe = f"{airflow.url}/api/v2/dags/probe"

    def unpaused() -> bool:
        try:
            call(probe, "PATCH", {"is_paused": False}, token)
        except OSError:
            return False
        return True

    until(unpaused, "the dag processor has found the DAG")
    call(f"{probe}/dagRuns", "POST", {"logical_date": None}, token)
    found = settings.home / "probe.json"
    until(found.exists, "the task has run")
    facts = json.loads(found.read_text())
    assert facts["answer"] == 42
    assert facts["spark"] == "local[1]"
    assert facts["home"] == str(settings.home)
    assert "version" in facts["java"]


@pytest.mark.parametrize(
    "victims",
    [["kafka"], ["mlflow"], ["postgres"], ["airflow-scheduler", "airflow-dag-processor"]],
    ids="+".join,
)
def test_what_was_killed_is_seen_and_started_again(settings: Settings, victims: list[str]) -> None:
    home = Home(settings.home)
    scheduler = running_pid(home, "airflow-scheduler")
    for name in victims:
        pid = running_pid(home, name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(running_pid(home, name) for name in victims), "they are dead")
    assert {states(settings)[name] for name in victims} == {"stopped"}
    assert up(settings, repository=settings.home.parent) is True
    assert set(states(settings).values()) == {"running"}
    if victims == ["postgres"]:
        # It would have died a little later, of the lost connection.
        assert running_pid(home, "airflow-scheduler") != scheduler


def test_down_leaves_no_process_and_up_keeps_ports_and_data(settings: Settings) -> None:
    home = Home(settings.home)
    kafka = Stack(settings).kafka
    kafka.create_topic("kept", 3)
    family = stragglers(home)
    ports = (settings.home / "ports.json").read_text()
    assert set(down(settings)) == set(states(settings))
    assert stragglers(home) == set()
    assert not [pid for pid in family if psutil.pid_exists(pid) and alive(pid)]
    named = [p.pid for p in psutil.process_iter(["cmdline"]) if mentions(p, settings.home)]
    assert named == []
    kafka.start(silent)
    assert (settings.home / "ports.json").read_text() == ports
    assert kafka.create_topic("kept", 3) is False


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def mentions(process: psutil.Process, folder: Path) -> bool:
    return alive(process.pid) and str(folder) in " ".join(process.info["cmdline"] or [])
