"""A landing that dies after its files are written and before anybody notes them.

    python -m tests.landing.killed_landing ROOT USE_CASE [unnamed]

With `unnamed` a batch gets a name of its own each time, as appending does: the control.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import Any

from lockstep.landing import run
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings


def die(*_: Any) -> None:
    os._exit(9)


def main() -> None:
    root, use_case, *unnamed = sys.argv[1:]
    run.record = die
    if unnamed:
        run.land_batches = appending
        run.new_events = counted_as_new
    run.land(
        Settings.load(),
        Pipeline.load(use_case, Path(root) / "models"),
        master="local[2]",
        schemas=Path(root) / "schemas",
    )


def appending(assignment: Any, batches: Any) -> Any:
    """`land_batches` without the batch's identity. Runs in a Spark task."""
    from lockstep.landing import tasks

    tasks.batch_name = lambda *_: f"landed-{uuid.uuid4().hex}"
    return tasks.land_batches(assignment, batches)


def counted_as_new(*_: Any) -> tuple[int, int]:
    """Without names nobody can tell which of a day's files are an epoch's own."""
    return 0, 0


if __name__ == "__main__":
    main()
