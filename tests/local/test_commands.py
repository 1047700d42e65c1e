"""lockstep up, down, status as typed, with the fastest service: crashes, races, wrong input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from lockstep.local.postgres import unprivileged
from lockstep.local.postgres.server import PGPASS, Postgres
from lockstep.local.service import leftovers, running_pid, stragglers
from lockstep.settings import STACK_ENV, Settings
from tests.local.conftest import REPOSITORY, Command
from tests.until import LIMIT_S, until

NOBODY = 65534


def test_up_is_idempotent_and_down_leaves_nothing(lockstep: Command) -> None:
    assert lockstep.facts("up", "--only", "postgres")["started"] is True
    pid = running_pid(lockstep.home, "postgres")
    assert lockstep.facts("up", "--only", "postgres")["started"] is False
    assert running_pid(lockstep.home, "postgres") == pid
    assert lockstep.facts("down")["stopped"] == ["postgres"]
    assert leftovers(lockstep.home) == []
    assert lockstep.facts("down")["stopped"] == []


def test_what_up_writes_is_what_settings_read(
    lockstep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lockstep.run("up", "--only", "postgres")
    monkeypatch.setenv("LOCKSTEP_HOME", str(lockstep.home.root))
    settings = Settings.load()
    for role in ("owner", "scorer", "releaser", "analyst"):
        with psycopg.connect(settings.url(role)) as connection:
            user, schemas = connection.execute(
                "select current_user, array(select nspname::text from pg_namespace)"
            ).fetchone() or ("", [])
            assert user == f"lockstep_{role}"
            assert "flight_delay" in schemas  # migrated
    assert stat.S_IMODE((lockstep.home.root / STACK_ENV).stat().st_mode) == 0o600


@pytest.mark.parametrize("installed", [True, False])
def test_an_analyst_types_one_line_for_psql(
    lockstep: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool
) -> None:
    """Also where no psql is installed but the stack's own."""
    lockstep.run("up", "--only", "postgres")
    server = Postgres(lockstep.home)
    programs = str(server.binaries if installed else tmp_path)
    monkeypatch.setenv("PATH", programs)
    line = server.psql("flight_delay")
    assert (" psql " in line) == installed
    assert lockstep.home.secret("postgres/lockstep_analyst") not in line
    assert stat.S_IMODE((lockstep.home.root / PGPASS).stat().st_mode) == 0o600

    def typed(sql: str) -> subprocess.CompletedProcess[str]:
        plainly = "--no-psqlrc --no-password --tuples-only --no-align"
        return subprocess.run(
            ["/bin/sh", "-c", f"{line} {plainly} --command '{sql}'"],
            env={"PATH": programs, "HOME": str(lockstep.cwd)},
            capture_output=True,
            text=True,
        )

    found = typed("select count(*) from predictions; show transaction_isolation")
    assert (found.stdout, found.stderr) == ("0\nrepeatable read\n", "")
    assert "permission denied" in typed("select * from approvals").stderr


def test_status_tells_stopped_running_and_unhealthy_apart(lockstep: Command) -> None:
    def states(fails: int = 1) -> dict[str, str]:
        facts = lockstep.facts("status", fails=fails)
        return {row["name"]: row["state"] for row in facts["services"]}

    assert set(states().values()) == {"stopped"}
    lockstep.run("up", "--only", "postgres")
    assert states() == dict.fromkeys(states(), "stopped") | {"postgres": "running"}
    head, postgres, *_ = shown = lockstep.run("status", fails=1).stdout.splitlines()
    assert postgres.split()[:2] == ["postgres", "running"]
    assert postgres.index("running") == head.index("state")
    assert max(map(len, shown[:8])) <= 80
    pid = running_pid(lockstep.home, "postgres")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert states()["postgres"] == "unhealthy"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_two_at_once_start_one_stack(lockstep: Command) -> None:
    both = [lockstep.start("up", "--only", "postgres", "--json") for _ in range(2)]
    said = [child.communicate(timeout=LIMIT_S) for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert sorted('"started": true' in out for out, _ in said) == [False, True]
    assert len(stragglers(lockstep.home, "postgres")) <= 1


@pytest.mark.parametrize(
    "moment", ["lock", "secrets.json", "postgres/unfinished", "run/postgres.json"]
)
def test_up_killed_half_way_is_finished_by_the_next(lockstep: Command, moment: str) -> None:
    with lockstep.start("up", "--only", "postgres") as first:
        try:
            # One of these passes: who comes to look late kills it a little later.
            paths = [lockstep.home.root / name for name in (moment, "run/postgres.json")]
            until(lambda: any(path.exists() for path in paths), f"{moment} exists")
        finally:
            first.kill()
    lockstep.run("up", "--only", "postgres")
    with psycopg.connect(lockstep.home_url("lockstep_owner")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    lockstep.run("down")
    assert leftovers(lockstep.home) == []


def test_ctrl_c_stops_waiting_and_down_cleans_up(lockstep: Command) -> None:
    # A log that nobody reads holds it up, however late we come to interrupt it.
    lockstep.home.create()
    log = lockstep.home.logs / "initdb.log"
    os.mkfifo(log)
    with lockstep.start("up", "--only", "postgres") as first:
        until((lockstep.home.root / "postgres/unfinished").exists, "it has begun")
        first.send_signal(signal.SIGINT)
        reads = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        try:
            _, err = first.communicate(timeout=LIMIT_S)
        finally:
            os.close(reads)
    assert first.returncode == 130, err
    lockstep.run("down")
    assert leftovers(lockstep.home) == []


def test_a_refused_use_case_takes_no_other_along(lockstep: Command, tmp_path: Path) -> None:
    for name in ("flight_delay", "copied"):
        (tmp_path / "models" / name).mkdir(parents=True)
        original = REPOSITORY / "models/flight_delay/pipeline.toml"
        shutil.copy(original, tmp_path / "models" / name)
    (tmp_path / "schemas").symlink_to(REPOSITORY / "schemas")
    lockstep.cwd = tmp_path
    up = lockstep.facts("up", "--only", "postgres")
    told = "copied/pipeline.toml: use_case is 'flight_delay', but the folder is 'copied'"
    assert told in up["left_out"]["copied"]
    assert told in lockstep.run("up", "--only", "postgres").stderr
    assert told in lockstep.facts("status", fails=1)["left_out"]["copied"]
    with psycopg.connect(lockstep.home_url("lockstep_owner")) as connection:
        schemas = connection.execute("select array(select nspname::text from pg_namespace)")
        assert {"flight_delay"} == {"flight_delay", "copied"} & set(schemas.fetchall()[0][0])
    migrated = json.loads(lockstep.run("migrate", "--json", fails=1).stdout)
    assert [found["use_case"] for found in migrated["migrated"]] == ["flight_delay"]
    assert told in migrated["left_out"]["copied"]


def test_a_configured_port_in_use_is_named_and_another_can_be_chosen(lockstep: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        facts = lockstep.facts("up", "--only", "postgres", "--port", f"postgres={port}", fails=1)
        assert facts["kind"] == "ServiceFailed"
        assert f"127.0.0.1:{port}: pid {os.getpid()}" in facts["error"]
        assert "--port postgres=0" in facts["next"]
        # The reason is gone: the same home starts, its data untouched.
        address = lockstep.facts("up", "--only", "postgres", "--port", "postgres=0")["postgres"]
    assert address != f"127.0.0.1:{port}"
    facts = lockstep.facts("up", "--port", f"postgres={port}", fails=2)
    assert "cannot change" in facts["error"]


@pytest.mark.parametrize("port", ["postgres", "postgres=x", "postgres=80", "redis=7000"])
def test_wrong_ports_are_refused_with_their_value(lockstep: Command, port: str) -> None:
    facts = lockstep.facts("up", "--port", port, fails=2)
    assert facts["kind"] == "UsageError"
    assert port.partition("=")[0] in facts["error"]


def test_a_home_that_is_a_file_is_named(lockstep: Command) -> None:
    lockstep.home.root.write_text("not a folder")
    facts = lockstep.facts("up", fails=2)
    assert str(lockstep.home.root) in facts["error"]
    assert "LOCKSTEP_HOME" in facts["next"]


def test_purge_deletes_the_services_data_and_not_the_lake(lockstep: Command) -> None:
    lockstep.run("up", "--only", "postgres")
    lake = lockstep.home.root / "lake" / "date=2013-10-01"
    lake.mkdir(parents=True)
    assert lockstep.facts("down", "--purge", "--yes")["purged"] is True
    assert sorted(path.name for path in lockstep.home.root.iterdir()) == ["lake", "lock"]
    assert lake.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_too_small_is_named_before_anything_starts(lockstep: Command) -> None:
    lockstep.home.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "lockstep-test", str(lockstep.home.root)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not mount")
    try:
        facts = lockstep.facts("up", "--only", "postgres", fails=1)
        assert str(lockstep.home.root) in facts["error"]
        assert "MB free; the stack needs 500 MB" in facts["error"]
        assert leftovers(lockstep.home) == []
    finally:
        subprocess.run(["umount", str(lockstep.home.root)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_it_works_as_an_ordinary_user(lockstep: Command, tmp_path: Path) -> None:
    """As a user who is not root and has no home folder to write to."""
    lockstep.home.root.mkdir()
    os.chown(lockstep.home.root, NOBODY, NOBODY)
    # The interpreter of the tests may lie in root's own folder; nothing else is granted.
    script = str(Path(unprivileged.__file__))
    lockstep.before = [sys.executable, "-I", "-S", script, str(NOBODY), str(NOBODY)]
    lockstep.environment |= {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    lockstep.environment.pop("XDG_CACHE_HOME", None)
    lockstep.run("up", "--only", "postgres")
    assert (lockstep.home.root / "postgres" / "data").stat().st_uid == NOBODY
    lockstep.run("down")
    assert leftovers(lockstep.home) == []
