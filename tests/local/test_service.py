"""Starting and stopping real processes: what dies, hangs, is left over, or is somebody else's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lockstep.errors import ServiceFailed
from lockstep.local import process
from lockstep.local.home import Home, silent
from lockstep.local.loopback import port_is_free
from lockstep.local.service import (
    Service,
    base_environment,
    leftovers,
    running_pid,
    start,
    stop,
    stragglers,
)
from tests.until import until

LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""
WITH_CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
pathlib.Path("child").write_text(str(child.pid))
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    home.create()
    yield home
    stop(home, leftovers(home))


def service(
    home: Home, code: str, *arguments: str, ready: Callable[[], str | None] = lambda: None, **more
) -> Service:
    return Service(
        name="probe",
        command=[sys.executable, "-c", code, *arguments],
        ready=ready,
        env=base_environment(),
        stop_timeout_s=5.0,
        **more,
    )


def appears(path: Path) -> Callable[[], str | None]:
    return lambda: None if path.exists() and path.read_text() else f"no {path}"


def gone(pid: int) -> bool:
    return until(lambda: process.birth(pid) is None, f"process {pid} is gone")


def test_a_second_start_is_a_no_op_and_stop_ends_it(home: Home) -> None:
    port = home.port("probe")
    probe = service(
        home,
        LISTEN,
        str(port),
        ready=lambda: "not yet" if port_is_free(port) else None,
        ports={"probe": port},
    )
    assert start(home, [probe], silent) is True
    pid = running_pid(home, "probe")
    assert start(home, [probe], silent) is False
    assert running_pid(home, "probe") == pid
    assert stop(home, ["probe"]) == ["probe"]
    assert port_is_free(port)
    assert stop(home, ["probe"]) == []


def test_a_service_that_dies_shows_the_end_of_its_log(home: Home) -> None:
    broken = service(home, "print('one'); raise SystemExit('the reason')", ready=lambda: "no")
    with pytest.raises(ServiceFailed, match="ended while it was starting") as caught:
        start(home, [broken], silent)
    assert "the reason" in caught.value.message
    assert str(home.logs / "probe.log") in (caught.value.left or "")
    assert leftovers(home) == []


def test_a_service_that_died_before_its_birth_was_noted_does_not_run(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    record = {"pid": ended.pid, "birth": process.birth(ended.pid), "started": "2020-01-01"}
    assert record["birth"] is None
    (home.run / "probe.json").write_text(json.dumps(record))
    assert running_pid(home, "probe") is None


def test_a_service_that_never_gets_ready_is_stopped(home: Home) -> None:
    hanging = service(home, WITH_CHILD, ready=lambda: "no answer", start_timeout_s=1.0)
    with pytest.raises(ServiceFailed, match=r"was not ready after 1 s \(no answer\)"):
        start(home, [hanging], silent)
    assert stragglers(home) == set()


def test_a_port_in_use_names_the_port_and_who_has_it(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        probe = service(home, LISTEN, str(port), ports={"probe": port})
        with pytest.raises(ServiceFailed) as caught:
            start(home, [probe], silent)
    assert f"127.0.0.1:{port}" in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message
    assert "--port probe=0" in (caught.value.next or "")
    assert leftovers(home) == []


def test_a_record_whose_pid_was_reused_is_ignored(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        try:
            record = {"pid": stranger.pid, "birth": "another boot:1", "started": "2020-01-01"}
            (home.run / "probe.json").write_text(json.dumps(record))
            assert running_pid(home, "probe") is None
            assert start(home, [service(home, LISTEN, str(home.port("probe")))], silent) is True
            assert running_pid(home, "probe") != stranger.pid
            assert stop(home, leftovers(home)) == ["probe"]
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}'])
def test_a_broken_record_is_no_record(home: Home, text: str) -> None:
    (home.run / "probe.json").write_text(text)
    assert running_pid(home, "probe") is None
    assert start(home, [service(home, LISTEN, str(home.port("probe")))], silent) is True


def test_children_of_a_killed_service_are_ended_even_in_sessions_of_their_own(home: Home) -> None:
    child_file = home.root / "child"
    start(home, [service(home, WITH_CHILD, ready=appears(child_file))], silent)
    child = int(child_file.read_text())
    parent = running_pid(home, "probe")
    assert parent is not None
    os.kill(parent, signal.SIGKILL)
    assert gone(parent)
    assert psutil.pid_exists(child)
    assert stop(home, leftovers(home)) == ["probe"]
    assert gone(child)


def test_a_process_without_a_record_is_ended_before_a_new_one_starts(home: Home) -> None:
    """As after a crash between the start of the process and the writing of its record."""
    child_file = home.root / "child"
    probe = service(home, WITH_CHILD, ready=appears(child_file))
    start(home, [probe], silent)
    first = running_pid(home, "probe")
    assert first is not None
    (home.run / "probe.json").unlink()
    child_file.unlink()
    assert start(home, [probe], silent) is True
    assert gone(first)
    assert running_pid(home, "probe") not in (None, first)


def test_what_ignores_sigterm_is_killed(home: Home) -> None:
    stubborn = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path('ready').write_text('x'); time.sleep(600)"
    )
    probe = Service(
        name="probe",
        command=[sys.executable, "-c", stubborn],
        ready=appears(home.root / "ready"),
        env=base_environment(),
        stop_timeout_s=0.5,
    )
    start(home, [probe], silent)
    assert stop(home, ["probe"]) == ["probe"]
    assert stragglers(home) == set()
