"""The law: what scores never imports models/. Here a job for which models/ does not exist."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lockstep.batch.plan import encode
from tests.batch_house import BatchHouse
from tests.small_model import REPOSITORY

_FENCE = """
import os, pathlib, sys

class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("models", "streaming", "dags", "xgboost", "ndonnx"):
            raise ModuleNotFoundError(f"{name} is off the import path")

sys.meta_path.insert(0, Fence())
pathlib.Path(__file__).with_name(f"fenced-{os.getpid()}").touch()
"""


def test_a_spark_job_scores_without_the_training_code(
    batch_house: BatchHouse, tmp_path: Path
) -> None:
    table = batch_house.write_flights()
    *_, checked = batch_house.run("resolve_model", "check_events")
    fence, elsewhere = tmp_path / "fence", tmp_path / "elsewhere"
    fence.mkdir()
    elsewhere.mkdir()
    (fence / "sitecustomize.py").write_text(_FENCE)
    shutil.copy(REPOSITORY / "jobs/score_partition.py", elsewhere)
    environment = {**batch_house.environment(), "PYTHONPATH": str(fence)}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    assert "models is off the import path" in python("-c", "import models").stderr
    before = set(fence.iterdir())
    done = python("score_partition.py", "--plan", encode(checked.facts), "--master", "local[1]")
    assert done.returncode == 0, done.stderr
    assert len(set(fence.iterdir()) - before) >= 2, "the driver and the workers' parent are fenced"
    batch_house.run("check_predictions", "publish", facts=checked.facts)
    assert len(batch_house.seen()) == table.num_rows
