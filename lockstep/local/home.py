"""The folder of one local stack: ports, secrets, logs, process records and the lock."""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockstep.errors import ServiceFailed, UsageError
from lockstep.files import write_atomically
from lockstep.local.loopback import port_is_free

__all__ = ["Home", "Progress", "free_port", "silent"]

Progress = Callable[[str, str], None]
"""Called with a part's name and what it is doing now. Must be safe to call from threads."""

_PORTS = range(20_000, 32_000)
"""Below every system's ephemeral range: no outgoing connection takes a port while we are down."""


def silent(part: str, doing: str) -> None:
    """A Progress that says nothing."""


class Home:
    """Files under one folder; every file with a secret in it is readable by its owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._guard = threading.Lock()

    @property
    def logs(self) -> Path:
        """One log for each service."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """One process record for each running service."""
        return self.root / "run"

    def create(self) -> None:
        """Make the folders. Raises UsageError when that is not allowed."""
        try:
            for folder in (self.root, self.logs, self.run):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot create {error.filename}: {error.strerror}",
                next="set LOCKSTEP_HOME to a folder that you may write",
            ) from None
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise UsageError(
                f"cannot write {self.root}: it belongs to uid {self.root.stat().st_uid}, "
                f"this is uid {os.getuid()}",
                next="set LOCKSTEP_HOME to a folder that you may write",
            )

    def require_space(self, needed_mb: int) -> None:
        """Raise ServiceFailed when the disk under this home has less than `needed_mb` MB free."""
        free_mb = shutil.disk_usage(self.root).free // 2**20
        if free_mb < needed_mb:
            raise ServiceFailed(
                f"the disk of {self.root} has {free_mb} MB free; the stack needs {needed_mb} MB",
                left="what ran before still runs; nothing was started",
                next="free some space or set LOCKSTEP_HOME to another disk, then lockstep up",
            )

    def port(self, name: str) -> int:
        """The port of `name`: chosen free the first time it is asked for, then kept."""
        with self._guard:
            ports = _read(self.root / "ports.json")
            if name not in ports:
                ports[name] = free_port(ports.values())
                write_atomically(self.root / "ports.json", json.dumps(ports, indent=1))
            return int(ports[name])

    def has_port(self, name: str) -> bool:
        """Whether `port` would answer what was chosen before."""
        return name in _read(self.root / "ports.json")

    def set_port(self, name: str, port: int) -> None:
        """Configure a port; 0 chooses a free one."""
        with self._guard:
            ports = _read(self.root / "ports.json")
            taken = {number: owner for owner, number in ports.items() if owner != name}
            if port in taken:
                raise UsageError(
                    f"port {port} is already given to {taken[port]}",
                    next=f"choose another port for {name}",
                )
            ports[name] = port or free_port(ports.values())
            write_atomically(self.root / "ports.json", json.dumps(ports, indent=1))

    def secret(self, name: str, length: int = 32) -> str:
        """A random secret of at least `length` characters, made once and then kept."""
        path = self.root / "secrets.json"
        with self._guard:
            known = _read(path)
            if name not in known:
                known[name] = secrets.token_urlsafe(length)
                write_atomically(path, json.dumps(known, indent=1), mode=0o600)
            return str(known[name])

    @contextmanager
    def locked(self, progress: Progress, timeout_s: float = 600.0) -> Iterator[None]:
        """Let one `up` or `down` work on this home at a time; others wait for it."""
        deadline = time.monotonic() + timeout_s
        told = False
        with (self.root / "lock").open("a+") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                    if time.monotonic() > deadline:
                        raise ServiceFailed(
                            f"another lockstep (pid {holder}) has been working on {self.root} "
                            f"for more than {timeout_s:.0f} s",
                            next=f"look at process {holder}; end it if it hangs, then try again",
                        ) from None
                    if not told:
                        progress("stack", f"waiting for another lockstep (pid {holder})")
                        told = True
                    time.sleep(0.2)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def free_port(taken: Iterable[int] = ()) -> int:
    """A port of 127.0.0.1 that a server may have, none of `taken`. Raises ServiceFailed."""
    given = set(taken)
    # Random, so that two stacks that start at the same moment do not choose the same one.
    choice = random.SystemRandom()
    for _ in range(1000):
        port = choice.choice(_PORTS)
        if port not in given and port_is_free(port):
            return port
    raise ServiceFailed(
        f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}",
        next="lockstep up --port NAME=NUMBER",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ServiceFailed(f"{path} is not JSON: {error}", next=f"remove {path}") from None
    return document
