"""Whatever is started the wrong way ends with 2 and says how to start it, without a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep import errors
from lockstep.exits import FAILED, FOR_GOOD, INTERRUPTED, WRONG_USAGE, ended
from tests.small_model import REPOSITORY

_CODE = ("benchmarks", "dags", "demo", "docker", "docs", "jobs", "lockstep", "models", "streaming")
_NOT_TYPED = "lockstep.local.postgres.unprivileged"
"""Becomes another program, which the local stack names."""


def _entries() -> list[str]:
    """Every module that somebody may start."""
    files = [file for folder in _CODE for file in (REPOSITORY / folder).rglob("*.py")]
    started = [f for f in files if '\nif __name__ == "__main__":' in f.read_text()]
    names = [".".join(f.relative_to(REPOSITORY).with_suffix("").parts) for f in started]
    return sorted({"lockstep.cli", *names} - {_NOT_TYPED})


def end(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What `python -m WORDS` says and how it ends, in `folder`, where no service runs."""
    entry, *more = words
    # A package of another's has the name of that folder: what lies in it is started by its file.
    by_file = entry.startswith("docker.")
    file = REPOSITORY.joinpath(*entry.split(".")).with_suffix(".py")
    return subprocess.run(
        [sys.executable, *([str(file)] if by_file else ["-m", entry]), *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LOCKSTEP_HOME": str(folder / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_kind_of_entry_point_is_looked_at() -> None:
    assert {name.split(".")[0] for name in _entries()} >= set(_CODE) - {"dags", "models"}


@pytest.mark.parametrize("entry", _entries())
def test_an_option_that_there_is_not(tmp_path: Path, entry: str) -> None:
    done = end(tmp_path, entry, "--no-such-option")
    assert done.returncode == WRONG_USAGE, done.stderr
    assert re.match("usage: ", done.stderr, re.IGNORECASE)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("lockstep.cli", "compare", "none", "--partition", "2013-10-01"),
        ("lockstep.cli", "compare", "none", "--partition", "yesterday"),
        ("lockstep.kafka.topics", "none"),
        ("streaming.app", "none", "--port", "0"),
        ("jobs.audit_windows", "--request", "{}"),
        ("jobs.land_events", "--use-case", "none"),
        ("jobs.score_partition", "--plan", "{}"),
        ("benchmarks.stream",),
        ("demo.flights",),
    ],
    ids=" ".join,
)
def test_what_only_we_can_tell_to_be_wrong(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Here nobody has a use case, a plan or the address of a warehouse."""
    done = end(tmp_path, *words)
    assert done.returncode == WRONG_USAGE, done.stderr
    assert "UsageError: " in done.stderr
    assert "\nnext: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "of_a_job"),
    [
        (errors.UsageError, WRONG_USAGE, WRONG_USAGE),
        (errors.LakeError, FAILED, FOR_GOOD),
        (errors.Unreachable, FAILED, FAILED),
    ],
)
def test_how_an_error_ends_a_process_and_a_job(
    error: type[errors.LockstepError],
    code: int,
    of_a_job: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        raise error("what is wrong", next="what to type")

    assert (ended(work), ended(work, terminal=FOR_GOOD)) == (code, of_a_job)
    said = f"{error.__name__}: what is wrong\nnext: what to type\n"
    assert capsys.readouterr().err == 2 * said


def test_a_ctrl_c_ends_whatever_was_started_without_a_traceback() -> None:
    code = (
        "import signal, sys; from lockstep.exits import ended;"
        " sys.exit(ended(lambda: signal.raise_signal(signal.SIGINT)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (INTERRUPTED, "interrupted\n")
