"""What scores imports nothing of what trains."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("mlflow", "ndonnx", "pandas", "pyspark", "spox", "tzdata", "xgboost", "models")


@pytest.mark.parametrize(
    "module",
    [
        "lockstep.features",
        "lockstep.windows",
        "lockstep.contracts",
        "lockstep.compiled_model",
        "lockstep.compiled_model.parts",
        "lockstep.scoring",
        "lockstep.registry.mlflow",
        "lockstep.registry.locate",
        "lockstep.registry.approved",
        "lockstep.cli.models",
    ],
)
def test_importing_it_imports_no_training_library(module):
    program = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
