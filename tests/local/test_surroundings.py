"""Whatever starts the tests, or lockstep: ignored and blocked signals, umask, locale, variables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from lockstep.local.service import leftovers
from tests.local.conftest import Command
from tests.small_model import REPOSITORY

_RUNNER = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM})
os.umask(0o077)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts its arguments the way no runner should, and some do."""

_VARIABLES = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
    "LC_ALL": "POSIX",
    "LANGUAGE": "de",
    "TZ": "Nowhere/Odd",
    "COLUMNS": "20",
    "TERM": "dumb",
    "FORCE_COLOR": "1",
    "http_proxy": "http://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "PGHOST": "nowhere",
    "PGSSLMODE": "require",
    "PGOPTIONS": "-c search_path=nowhere",
    "LOCKSTEP_TREE_KERNEL": "nonsense",
    "LOCKSTEP_KAFKA": "nowhere:1",
    "SPARK_HOME": "/nowhere",
    "AIRFLOW__CORE__EXECUTOR": "nonsense",
    "MLFLOW_TRACKING_URI": "http://nowhere",
}
_FEW = (
    "tests/local/test_commands.py::test_ctrl_c_stops_waiting_and_down_cleans_up",
    "tests/local/test_home.py::test_the_lock_lets_one_work_at_a_time_and_dies_with_its_holder",
    "tests/local/test_service.py",
    "tests/test_layout.py::test_every_command_explains_itself[up]",
    "tests/dags/test_dag_files.py::test_parsing_imports_nothing_heavy",
)


def test_tests_that_start_processes_pass_under_a_hostile_runner() -> None:
    """In the background (SIGINT ignored), under a strict umask, an odd locale, time zone, proxy."""
    session = [sys.executable, "-E", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, *session, *_FEW],
        cwd=REPOSITORY,
        env=os.environ | _VARIABLES,
        capture_output=True,
        timeout=500,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said + done.stderr.decode(errors="replace")
    assert " passed" in said.splitlines()[-1]


def test_a_session_without_asserts_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "pytest", "-q", "tests/test_layout.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert "PYTHONOPTIMIZE" in done.stdout + done.stderr


@pytest.mark.parametrize("heard", [True, False])
def test_children_begin_with_default_signals(heard: bool) -> None:
    """The control is a process that does not ask for it: its children inherit everything."""
    status = "print(open('/proc/self/status').read())"
    code = (
        "import subprocess, sys; from lockstep.local.process import let_children_hear\n"
        + ("let_children_hear()\n" if heard else "")
        + "from pathlib import Path; print(Path('/proc/self/status').read_text(), flush=True)\n"
        f"sys.exit(subprocess.run([sys.executable, '-c', {status!r} + '; raise SystemExit(3)'])"
        ".returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, sys.executable, "-c", code], capture_output=True, text=True
    )
    ignored = _masks(done.stdout, "SigIgn")[-1]
    blocked = _masks(done.stdout, "SigBlk")[-1]
    named = {signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD}
    assert ignored & named == (set() if heard else named)
    assert blocked == (set() if heard else {signal.SIGTERM, signal.SIGALRM})
    # Where SIGCHLD is ignored nobody learns how a child ended.
    assert done.returncode == (3 if heard else 0)


def _masks(status: str, name: str) -> list[set[int]]:
    """The signals of each process status in `status`."""
    words = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(name)]
    return [{n for n in signal.valid_signals() if word >> (n - 1) & 1} for word in words]


def test_up_and_down_work_whatever_started_them(lockstep: Command, tmp_path: Path) -> None:
    """Postgres of an account of its own below folders that a strict umask has closed."""
    wanted = ("LOCKSTEP_", "PYTHONOPTIMIZE", "PYTHONWARNINGS")  # what is meant for lockstep itself
    hostile = {name: text for name, text in _VARIABLES.items() if not name.startswith(wanted)}
    lockstep.environment |= hostile | {"PYTHONOPTIMIZE": "1"}
    lockstep.before = [sys.executable, "-c", _RUNNER]
    assert lockstep.facts("up", "--only", "postgres")["started"] is True
    with psycopg.connect(lockstep.home_url("lockstep_owner")) as connection:
        shown = connection.execute("select current_setting('TimeZone'), 'ü'").fetchone()
    assert shown == ("UTC", "ü")
    assert lockstep.facts("down")["stopped"] == ["postgres"]
    assert leftovers(lockstep.home) == []
