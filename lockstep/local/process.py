"""Processes of this machine: telling them apart and ending them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import psutil

from lockstep.errors import ServiceFailed

__all__ = ["MARK", "adopt", "birth", "descendants", "end", "let_children_hear", "mark"]

MARK = "LOCKSTEP_SERVICE"
"""The environment variable, NAME@HOME, that says which stack a process belongs to."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one has started: they must be reaped here, or they stay as zombies."""


def let_children_hear() -> None:
    """Let the processes that this one starts begin with default signals. From the main thread.

    A shell starts `command &` with SIGINT ignored, and other parents ignore or block others; that
    goes on through every start to programs which are stopped by just that signal. What is caught
    begins anew in a child, so what is ignored is caught here from now on, by nothing: this process
    goes on ignoring it. An ignored SIGCHLD even hides with which code a child has ended. SIGHUP
    stays as it is: who types nohup means the children too.
    """
    for number in signal.valid_signals() - {signal.SIGHUP}:
        # Python itself ignores SIGPIPE and SIGXFSZ; subprocess gives those back to children.
        own = number in (signal.SIGPIPE, signal.SIGXFSZ)
        if not own and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _nothing(number: int, frame: FrameType | None) -> None:
    """Take a signal and do nothing."""


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Reap `child` when it has died."""
    _children[child.pid] = child


def birth(pid: int) -> str | None:
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
        # No such process, or no /proc on this system.
        try:
            process = psutil.Process(pid)
            dead = process.status() == psutil.STATUS_ZOMBIE
            return None if dead else str(process.create_time())
        except psutil.Error:
            return None


def descendants(pid: int) -> set[int]:
    """The children of a process, and theirs."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.Error:
        return set()


def mark(pid: int) -> str:
    """The NAME@HOME that a process carries; empty when it has none, or none that we may read."""
    try:
        return str(psutil.Process(pid).environ().get(MARK, ""))
    except (psutil.Error, OSError):
        return ""


def end(wanted: Mapping[int, tuple[signal.Signals, float]]) -> None:
    """End processes: the first signal, so many seconds of waiting, then kill.

    Births are noted before the first signal, so that no pid is mistaken. Raises ServiceFailed
    naming those that remain.
    """
    births = {pid: born for pid in wanted if (born := birth(pid)) is not None}

    def alive() -> list[int]:
        return [pid for pid, born in births.items() if birth(pid) == born]

    began = time.monotonic()
    for pid in alive():
        _signal(pid, wanted[pid][0])
    killed: set[int] = set()
    while left := alive():
        waited = time.monotonic() - began
        for pid in left:
            if waited > wanted[pid][1] and pid not in killed:
                _signal(pid, signal.SIGKILL)
                killed.add(pid)
        if waited > 10.0 + max(seconds for _, seconds in wanted.values()):
            raise ServiceFailed(
                f"processes {left} do not end, not even when killed",
                left="they keep running",
                next=f"ps -fp {','.join(map(str, left))}",
            )
        time.sleep(0.05)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise ServiceFailed(
            f"process {pid} belongs to another user and cannot be stopped",
            left="it keeps running",
            next="run the command again as the user who started the stack",
        ) from None
