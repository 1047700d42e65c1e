"""Processes that outlive the command that started them, and how to find and end them again.

A record <home>/run/<name>.json holds the process id and the moment of its birth; a pid that was
reused by another program has another birth and is left alone. Every process also carries
LOCKSTEP_SERVICE=<name>@<home> in its environment, and so do its children: what a crash left
without a record is found by that mark.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import psutil

from lockstep.errors import ServiceFailed
from lockstep.local.home import Home, Progress, port_is_free, write_atomically

__all__ = [
    "Service",
    "base_environment",
    "cancel_starts",
    "running_pid",
    "start",
    "stop",
    "stragglers",
    "tail",
]

_MARK = "LOCKSTEP_SERVICE"
_LOG_LIMIT = 20 * 2**20
_cancelled = threading.Event()
_children: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one has started: they must be reaped here, or they stay as zombies."""


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
    foreign = ("AIRFLOW_", "MLFLOW_", "KAFKA_", "SPARK_", "PG", "LOCKSTEP_")
    # Without compiled files every start of Airflow or MLflow compiles thousands of modules.
    foreign += ("PYTHONDONTWRITEBYTECODE",)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # Renaming a process (as Airflow does) must not overwrite the mark in its environment.
    return {**kept, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}


def start(home: Home, service: Service, progress: Progress) -> bool:
    """Start `service` and return when it serves. False when it already did.

    Raises ServiceFailed with the end of its log when it dies or is not ready in time; what is
    left of it is stopped. Running it again is safe after a crash at any point.
    """
    log = home.logs / f"{service.name}.log"
    pid = running_pid(home, service.name)
    fresh = pid is None
    if pid is None:
        # What a killed parent left behind would fight with the new process over ports and files.
        stop(home, service.name, timeout_s=service.stop_timeout_s)
        _require_ports(service)
        progress(service.name, "starting")
        pid = _spawn(home, service, log)
    missing: str | None = "not asked yet"
    deadline = time.monotonic() + service.start_timeout_s
    while True:
        alive = running_pid(home, service.name) == pid
        if alive:
            missing = service.ready()
            if missing is None:
                if fresh:
                    progress(service.name, "ready")
                return fresh
        late = time.monotonic() > deadline
        if not alive or late or _cancelled.wait(0.1):
            stop(home, service.name, service.stop_signal, service.stop_timeout_s)
            if _cancelled.is_set():
                raise KeyboardInterrupt
            why = (
                f"was not ready after {service.start_timeout_s:.0f} s ({missing})"
                if alive
                else "ended while it was starting"
            )
            raise ServiceFailed(
                f"{service.name} {why}; the end of its log:\n{tail(log)}",
                left=f"the whole log in {log}; the other services keep running",
                next="lockstep up (tries again) or lockstep down (stops the rest)",
            )


def cancel_starts(cancelled: bool = True) -> None:
    """Make every `start` in this process, in any thread, give up and stop what it began."""
    if cancelled:
        _cancelled.set()
    else:
        _cancelled.clear()


def running_pid(home: Home, name: str) -> int | None:
    """The pid of a service that runs, by its record; None when it does not."""
    try:
        record = json.loads((home.run / f"{name}.json").read_text())
        pid, birth = int(record["pid"]), str(record["birth"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return pid if _birth(pid) == birth else None


def stop(
    home: Home,
    name: str,
    stop_signal: signal.Signals = signal.SIGTERM,
    timeout_s: float = 30.0,
) -> bool:
    """Stop a service and everything that it has started. False when nothing was running.

    First the service alone, so that it can end its children in order; what still runs after
    `timeout_s` is killed.
    """
    pid = running_pid(home, name)
    family = stragglers(home, name)
    if pid is not None:
        family |= _descendants(pid)
        _end([pid], stop_signal, timeout_s)
    family |= stragglers(home, name)
    _end(family - {pid}, signal.SIGTERM, 5.0)
    (home.run / f"{name}.json").unlink(missing_ok=True)
    return pid is not None or bool(family)


def stragglers(home: Home, name: str | None = None) -> set[int]:
    """Pids of all processes that carry this home's mark, of one service or of any."""
    wanted = f"{name or ''}@{home.root}"
    found = set()
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(_MARK, "")
            zombie = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        fits = mark == wanted if name else mark.endswith(wanted)
        if fits and not zombie and process.pid != os.getpid():
            found.add(process.pid)
    return found


def http_missing(url: str) -> str | None:
    """None when `url` answers 200, else what it answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own loopback
            answer.read()
    except (OSError, HTTPException) as error:
        return f"{url}: {error}"
    return None


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, bounded, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"    ({log}: {error.strerror})"
    return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-lines:]) or "    (empty)"


def _require_ports(service: Service) -> None:
    for name, port in service.ports.items():
        if not port_is_free(port):
            raise ServiceFailed(
                f"{service.name} cannot listen on 127.0.0.1:{port}: {_owner(port)} does",
                left="the other services keep running",
                next=f"stop that program, or lockstep up --port {name}=0 (chooses a free port)",
            )


def _owner(port: int) -> str:
    """Who listens on `port`, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return "another program"


def _spawn(home: Home, service: Service, log: Path) -> int:
    if log.is_file() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(service.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**service.env, _MARK: f"{service.name}@{home.root}"},
            cwd=service.cwd or home.root,
            # A session of its own: Ctrl-C in the terminal must not reach it.
            start_new_session=True,
        )
    _children[child.pid] = child
    record = {"pid": child.pid, "birth": _birth(child.pid), "command": list(service.command)}
    try:
        write_atomically(home.run / f"{service.name}.json", json.dumps(record))
    except BaseException:
        child.kill()
        child.wait()
        raise
    return child.pid


def _birth(pid: int) -> str | None:
    """What tells this process from any other that ever had its pid; None when it is dead."""
    if pid in _children and _children[pid].poll() is not None:
        del _children[pid]
        return None
    try:
        # Ticks since boot: unlike a wall-clock time they do not move when the clock is set.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    except ProcessLookupError:
        return None
    except OSError:
        try:
            process = psutil.Process(pid)
            dead = process.status() == psutil.STATUS_ZOMBIE
            return None if dead else str(process.create_time())
        except psutil.Error:
            return None


def _descendants(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.Error:
        return set()


def _end(pids: Iterable[int], first: signal.Signals, timeout_s: float) -> None:
    """Signal, wait, kill. Births are noted before the first signal: no pid is mistaken."""
    births = {pid: birth for pid in pids if (birth := _birth(pid)) is not None}
    for attempt, wait_s in ((first, timeout_s), (signal.SIGKILL, 10.0)):
        for pid, birth in births.items():
            if _birth(pid) == birth:
                try:
                    os.kill(pid, attempt)
                except ProcessLookupError:
                    continue
        deadline = time.monotonic() + wait_s
        while any(_birth(pid) == birth for pid, birth in births.items()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
    left = [pid for pid, birth in births.items() if _birth(pid) == birth]
    raise ServiceFailed(
        f"processes {left} do not end, not even when killed",
        left="they keep running",
        next=f"ps -fp {','.join(map(str, left))}",
    )
