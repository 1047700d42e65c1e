"""Services: processes that outlive the command that started them.

A record <home>/run/<name>.json holds the process id and the moment of its birth; a pid that was
reused by another program has another birth and is left alone. Every process also carries a mark
in its environment, and so do its children: what a crash left without a record is found by that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from lockstep.errors import ServiceFailed
from lockstep.files import write_atomically
from lockstep.local import process
from lockstep.local.home import Home, Progress
from lockstep.local.loopback import port_is_free, port_owner

__all__ = [
    "Service",
    "base_environment",
    "cancel",
    "leftovers",
    "run",
    "running_pid",
    "running_since",
    "start",
    "stop",
    "stragglers",
    "tail",
]

_LOG_LIMIT = 20 * 2**20
_FULL = 16 * 2**20
_cancelled = threading.Event()


@dataclass(frozen=True)
class Service:
    """One long-running process."""

    name: str
    command: Sequence[str]
    ready: Callable[[], str | None]
    """None when it serves, else what is still missing. Must return within a few seconds."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports that it listens on, by the name that `lockstep up --port` knows."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Its whole environment, less the mark."""
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    start_timeout_s: float = 180.0
    stop_timeout_s: float = 30.0


def base_environment() -> dict[str, str]:
    """This process's environment, less what would reconfigure a service behind our back."""
    foreign = (
        *("AIRFLOW_", "MLFLOW_", "KAFKA_", "SPARK_", "PG", "LOCKSTEP_"),
        # All of them: one alone (PYTHONDONTWRITEBYTECODE) makes every start of Airflow compile
        # thousands of modules, another (PYTHONWARNINGS=error) ends it.
        "PYTHON",
        *("LC_", "LANG"),
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        # Renaming a process (as Airflow does) must not overwrite the mark in its environment.
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        # What services write is UTF-8 and tells UTC, whatever the terminal has.
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        # The services talk to each other: never through a proxy.
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"])),
        "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1,localhost"])),
    }


def start(home: Home, services: Sequence[Service], progress: Progress) -> bool:
    """Start `services` together and return when all of them serve. False when they already did.

    Raises ServiceFailed with the end of its log when one dies or is not ready in time; that one
    is stopped, the others are left alone. Running it again is safe after a crash at any point.
    """
    began = [service for service in services if running_pid(home, service.name) is None]
    for service in began:
        _make_room(home, service)
    for service in began:
        progress(service.name, "starting")
        _spawn(home, service)
    since = time.monotonic()
    waiting = {service.name: service for service in services}
    while True:
        for service in list(waiting.values()):
            alive = running_pid(home, service.name) is not None
            missing = service.ready() if alive else "it has ended"
            if missing is None:
                del waiting[service.name]
                if service in began:
                    progress(service.name, "ready")
            elif not alive and service not in began:
                # It was ending while we looked: it needs a start after all.
                began.append(service)
                _make_room(home, service)
                progress(service.name, "starting")
                _spawn(home, service)
            elif not alive or time.monotonic() > since + service.start_timeout_s:
                stop(home, [service.name])
                raise _failed(home, service, alive, missing)
        if not waiting:
            return bool(began)
        if _cancelled.wait(0.1):
            raise KeyboardInterrupt


def _make_room(home: Home, service: Service) -> None:
    # What a killed parent left behind would fight with the new process over ports and files.
    stop(home, [service.name])
    _require_ports(service)


def cancel(cancelled: bool = True) -> None:
    """Make every `start` in this process, in any thread, stop waiting. What began goes on."""
    if cancelled:
        _cancelled.set()
    else:
        _cancelled.clear()


def running_pid(home: Home, name: str) -> int | None:
    """The pid of a service that runs, by its record; None when it does not."""
    record = _record(home, name)
    born = record.get("birth")
    # None: it had ended before anybody could note its birth.
    return record["pid"] if born is not None and process.birth(record["pid"]) == born else None


def running_since(home: Home, name: str) -> datetime | None:
    """When a running service was started (UTC); None when it does not run."""
    record = _record(home, name)
    running = running_pid(home, name) is not None
    return datetime.fromisoformat(record["started"]) if running else None


def run(home: Home, name: str, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> int:
    """Run a step of a start to its end; returns its exit code. Its output is in logs/NAME.log.

    What an interrupted run of the same step left behind is ended first.
    """
    stop(home, [name])
    with (home.logs / f"{name}.log").open("wb") as output:
        return subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**env, process.MARK: f"{name}@{home.root}"},
            cwd=cwd,
            check=False,
        ).returncode


def stop(home: Home, names: Sequence[str]) -> list[str]:
    """Stop services together with everything that they have started; returns who was running.

    First the services alone, so that they can end their children in order; what still runs after
    their time is killed.
    """
    stopped = []
    family: set[int] = set()
    leaders: dict[int, tuple[signal.Signals, float]] = {}
    for name in names:
        relatives = stragglers(home, name)
        record = _record(home, name)
        pid = running_pid(home, name)
        if pid is not None:
            relatives |= process.descendants(pid)
            leaders[pid] = (signal.Signals(record["stop_signal"]), record["stop_timeout_s"])
        if relatives or pid is not None:
            stopped.append(name)
        family |= relatives
    process.end(leaders)
    for name in names:
        family |= stragglers(home, name)
    process.end(dict.fromkeys(family - leaders.keys(), (signal.SIGTERM, 5.0)))
    for name in names:
        (home.run / f"{name}.json").unlink(missing_ok=True)
    return stopped


def leftovers(home: Home) -> list[str]:
    """Names under which processes of this home run or are recorded."""
    marks = {process.mark(pid).partition("@")[0] for pid in stragglers(home)}
    return sorted({record.stem for record in home.run.glob("*.json")} | marks)


def stragglers(home: Home, name: str | None = None) -> set[int]:
    """Pids of all processes that carry this home's mark, of one service or of any."""
    wanted = f"{name or ''}@{home.root}"
    found = set()
    for pid in psutil.pids():
        mark = process.mark(pid)
        fits = mark == wanted if name else mark.endswith(wanted)
        if fits and pid != os.getpid() and process.birth(pid) is not None:
            found.add(pid)
    return found


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, bounded, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"    ({log}: {error.strerror})"
    return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-lines:]) or "    (empty)"


def _failed(home: Home, service: Service, alive: bool, missing: str) -> ServiceFailed:
    log = home.logs / f"{service.name}.log"
    why = (
        f"was not ready after {service.start_timeout_s:.0f} s ({missing})"
        if alive
        else "ended while it was starting"
    )
    full = shutil.disk_usage(home.root).free < _FULL
    return ServiceFailed(
        f"{service.name} {why}"
        + (f"; the disk of {home.root} is full" if full else "")
        + f"; the end of its log:\n{tail(log)}",
        left=f"the whole log in {log}; the other services keep running",
        next="lockstep up (tries again) or lockstep down (stops the rest)",
    )


def _require_ports(service: Service) -> None:
    for name, port in service.ports.items():
        if not port_is_free(port):
            raise ServiceFailed(
                f"{service.name} cannot listen on 127.0.0.1:{port}: {port_owner(port)} does",
                left="the other services keep running",
                next=f"stop that program, or lockstep up --port {name}=0 (chooses a free port)",
            )


def _spawn(home: Home, service: Service) -> None:
    log = home.logs / f"{service.name}.log"
    if log.is_file() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(service.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**service.env, process.MARK: f"{service.name}@{home.root}"},
            cwd=service.cwd or home.root,
            # A session of its own: Ctrl-C in the terminal must not reach it.
            start_new_session=True,
        )
    process.adopt(child)
    record = {
        "pid": child.pid,
        "birth": process.birth(child.pid),
        "started": datetime.now(UTC).isoformat(),
        "stop_signal": service.stop_signal,
        "stop_timeout_s": service.stop_timeout_s,
    }
    try:
        write_atomically(home.run / f"{service.name}.json", json.dumps(record))
    except BaseException:
        child.kill()
        child.wait()
        raise


def _record(home: Home, name: str) -> dict[str, Any]:
    """The record of a service; empty when there is none, or none that can be read."""
    try:
        record = json.loads((home.run / f"{name}.json").read_text())
        return record if {"pid", "birth", "started"} <= record.keys() else {}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
