"""The local Postgres, really started, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from lockstep.errors import ServiceFailed
from lockstep.local.home import Home, silent
from lockstep.local.postgres.server import Postgres
from lockstep.local.service import leftovers, running_pid, stop

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    home.create()
    yield home
    stop(home, leftovers(home))


def write_row(server: Postgres) -> None:
    with psycopg.connect(server.url("lockstep_owner")) as connection:
        connection.execute("create table kept as select 42 as answer")


def rows(server: Postgres) -> list[tuple[int]]:
    with psycopg.connect(server.url("lockstep_owner")) as connection:
        return connection.execute("select answer from kept").fetchall()


def test_each_role_logs_in_with_its_own_password_and_no_other(postgres: Postgres) -> None:
    for role in ("owner", "scorer", "releaser", "analyst"):
        with psycopg.connect(postgres.url(f"lockstep_{role}")) as connection:
            assert connection.execute("select current_user").fetchone() == (f"lockstep_{role}",)
    wrong = postgres.url("lockstep_scorer").replace("lockstep_scorer", "lockstep_owner")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_guests_and_roles_stay_in_their_own_database(postgres: Postgres) -> None:
    for user, database in [("airflow", "lockstep"), ("mlflow", "airflow")]:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(postgres.url(user, database))


def test_it_listens_on_loopback_only_and_shows_no_password(postgres: Postgres) -> None:
    pid = running_pid(postgres.home, "postgres")
    server = psutil.Process(pid)
    listening = [link.laddr for link in server.net_connections() if link.status == "LISTEN"]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", postgres.port)]
    secret = postgres.home.secret("postgres/lockstep_owner")
    for process in [server, *server.children(recursive=True)]:
        assert secret not in " ".join(process.cmdline())


def test_data_survives_a_kill(home: Home) -> None:
    server = Postgres(home)
    assert server.start(silent) is True
    write_row(server)
    pid = running_pid(home, "postgres")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert server.start(silent) is True
    assert running_pid(home, "postgres") != pid
    assert rows(server) == [(42,)]


def test_a_stale_pid_file_with_a_pid_of_another_program_does_not_stop_it(home: Home) -> None:
    server = Postgres(home)
    server.start(silent)
    write_row(server)
    pid = running_pid(home, "postgres")
    assert pid is not None
    lock = (server.data / "postmaster.pid").read_text()
    os.kill(pid, signal.SIGKILL)
    stop(home, ["postgres"])
    owner = server.data.stat()
    # A live process of the same user: the case in which Postgres itself refuses to start.
    account = owner.st_uid if os.geteuid() == 0 else None
    # Its real path: whoever that is may not reach every folder on PATH.
    sleep = os.path.realpath(shutil.which("sleep") or "sleep")
    with subprocess.Popen([sleep, "600"], user=account) as other:
        try:
            stale = server.data / "postmaster.pid"
            stale.write_text(lock.replace(str(pid), str(other.pid), 1))
            os.chown(stale, owner.st_uid, owner.st_gid)
            assert server.start(silent) is True
        finally:
            other.kill()
    assert rows(server) == [(42,)]


def test_an_unfinished_cluster_is_made_anew(home: Home) -> None:
    """As after a crash in the middle of initdb."""
    server = Postgres(home)
    (server.folder / "unfinished" / "base").mkdir(parents=True)
    (server.folder / "unfinished" / "PG_VERSION").write_text("18\n")
    assert server.start(silent) is True
    assert not (server.folder / "unfinished").exists()


def test_logins_are_made_when_a_crash_came_before_them(home: Home) -> None:
    server = Postgres(home)
    server.start(silent)
    with psycopg.connect(server.url("lockstep_admin", "postgres"), autocommit=True) as admin:
        admin.execute("drop database lockstep")
        admin.execute("drop role lockstep_scorer")
    (server.folder / "bootstrapped").unlink()
    assert server.start(silent) is False
    with psycopg.connect(server.url("lockstep_scorer")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_data_of_a_version_that_is_not_installed_is_left_alone(home: Home) -> None:
    server = Postgres(home)
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServiceFailed, match=r"was made by Postgres 9; installed: \[16, 18\]"):
        server.start(silent)
    assert list(server.data.iterdir()) == [server.data / "PG_VERSION"]


@AS_ROOT
def test_a_full_disk_is_named_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "lockstep-test", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not mount")
    try:
        home = Home(disk / "home")
        home.create()
        server = Postgres(home)
        with pytest.raises(ServiceFailed, match="No space left on device") as caught:
            server.start(silent)
        assert "could not be created" in caught.value.message
        assert not server.data.exists()
        assert leftovers(home) == []
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        assert server.start(silent) is True
        stop(home, leftovers(home))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
