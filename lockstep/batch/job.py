"""How a job file of jobs/ ends: its exit code tells Airflow whether trying again can help."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lockstep.errors import LockstepError, Terminal

__all__ = ["TERMINAL_EXIT", "exit_code"]

TERMINAL_EXIT = 3
"""The exit code of a job when trying again cannot help."""


def exit_code(work: Callable[[], None]) -> int:
    """Do the work. 0 when it is done, TERMINAL_EXIT or 1 when it is not, with why on stderr."""
    try:
        work()
    except LockstepError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return TERMINAL_EXIT if isinstance(error, Terminal) else 1
    return 0
