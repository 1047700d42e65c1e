"""Ports, secrets and the lock of a home."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lockstep.errors import ServiceFailed, UsageError
from lockstep.local.home import Home, silent
from tests.until import LIMIT_S


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_ports_and_secrets_are_chosen_once(home: Home) -> None:
    names = ["a", "b", "c"]
    ports = {name: home.port(name) for name in names}
    secrets = {name: home.secret(name) for name in names}
    again = Home(home.root)
    assert {name: again.port(name) for name in names} == ports
    assert {name: again.secret(name) for name in names} == secrets
    assert len(set(ports.values())) == len(set(secrets.values())) == 3
    assert all(len(secret) >= 32 for secret in secrets.values())


def test_only_the_owner_reads_secrets(home: Home) -> None:
    home.secret("a")
    assert stat.S_IMODE((home.root / "secrets.json").stat().st_mode) == 0o600


def test_a_configured_port_is_kept_and_given_once(home: Home) -> None:
    home.set_port("a", 23456)
    assert Home(home.root).port("a") == 23456
    with pytest.raises(UsageError, match="23456 is already given to a"):
        home.set_port("b", 23456)
    home.set_port("a", 0)
    assert home.port("a") != 23456


def test_a_damaged_file_is_named(home: Home) -> None:
    (home.root / "ports.json").write_text("{")
    with pytest.raises(ServiceFailed, match=r"ports\.json is not JSON"):
        home.port("a")


def test_the_lock_lets_one_work_at_a_time_and_dies_with_its_holder(home: Home) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from lockstep.local.home import Home, silent\n"
        f"with Home(Path({str(home.root)!r})).locked(silent):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            said: list[str] = []
            with (
                pytest.raises(ServiceFailed, match=f"pid {other.pid}"),
                home.locked(lambda part, doing: said.append(doing), timeout_s=0.5),
            ):
                raise AssertionError("two at a time")
            assert said == [f"waiting for another lockstep (pid {other.pid})"]
            entered = threading.Event()

            def wait() -> None:
                with home.locked(silent):
                    entered.set()

            waiter = threading.Thread(target=wait)
            waiter.start()
        finally:
            other.kill()
        waiter.join(LIMIT_S)
        assert entered.is_set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot create"):
        Home(tmp_path / "home").create()


def test_too_little_space_is_said_before_anything_starts(home: Home) -> None:
    with pytest.raises(ServiceFailed, match=r"MB free; the stack needs 1000000000 MB"):
        home.require_space(10**9)
