"""How a process of ours ends: its exit code, and why on the standard error. The only place.

  0  done
  1  failed
  2  wrong usage: the command or its configuration; click and argparse say so as well
  3  a Spark job failed for good, and whoever started it must not try again
130  interrupted
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from lockstep.errors import LockstepError, Terminal, UsageError

__all__ = ["FAILED", "FOR_GOOD", "INTERRUPTED", "WRONG_USAGE", "ended", "exit_code", "interrupted"]

FAILED, WRONG_USAGE, FOR_GOOD, INTERRUPTED = 1, 2, 3, 130


def exit_code(error: LockstepError, terminal: int = FAILED) -> int:
    """Of a process that `error` ends. `terminal`: where trying again cannot help."""
    if isinstance(error, UsageError):
        return WRONG_USAGE
    return terminal if isinstance(error, Terminal) else FAILED


def interrupted() -> int:
    """Say so; the code of a process that a Ctrl-C ends."""
    print("interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED


def ended(work: Callable[[], int | None], terminal: int = FAILED) -> int:
    """Do the work. The code that it returns, or that of what ended it, which is told on stderr."""
    try:
        return work() or 0
    except LockstepError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return exit_code(error, terminal)
    except KeyboardInterrupt:
        return interrupted()
