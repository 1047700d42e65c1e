"""The `lockstep` command on a home of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.local.home import Home
from lockstep.local.postgres.server import Postgres
from lockstep.local.service import leftovers, stop
from tests.until import LIMIT_S

REPOSITORY = Path(__file__).parents[2]


class Command:
    """Types `lockstep ...` in the repository's root."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        foreign = ("LOCKSTEP_", "JAVA_")
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith(foreign)},
            "LOCKSTEP_HOME": str(root),
        }
        self.cwd = REPOSITORY
        self.before: list[str] = []
        """What to put in front, to become somebody else."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.before, sys.executable, "-m", "lockstep.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.cwd,
            env=self.environment,
        )

    def run(self, *arguments: str, fails: int = 0) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as child:
            try:
                out, err = child.communicate(timeout=LIMIT_S)
            finally:
                child.kill()
        assert child.returncode == fails, f"{arguments}: {child.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def facts(self, *arguments: str, fails: int = 0) -> dict[str, Any]:
        """The JSON that a command prints: on stderr when it fails with an error."""
        done = self.run(*arguments, "--json", fails=fails)
        return dict(json.loads(done.stdout or done.stderr.splitlines()[-1]))

    def home_url(self, user: str) -> str:
        return Postgres(self.home).url(user)


@pytest.fixture
def lockstep(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path / "home")
    yield command
    if command.home.run.is_dir():
        stop(command.home, leftovers(command.home))
