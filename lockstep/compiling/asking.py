"""Functions of a use case, called so that what goes wrong in them is said with its line, and so
that they change nothing that was read."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_paths

import lockstep
from lockstep.contracts import Columns
from lockstep.errors import LockstepError, UsageError

__all__ = ["asking", "is_own", "lent"]

_LONGEST = 300
_OTHERS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(lockstep.__file__).parent,
        *(get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)


def is_own(file: str) -> bool:
    """Whether a use case's author wrote a source file: not Python, a library or Lockstep."""
    # A library that was compiled names its sources as they lay where it was built.
    return Path(file).is_absolute() and not file.startswith(_OTHERS)


def lent(columns: Columns) -> Columns:
    """The same values, which whoever gets them cannot change."""
    views = {name: column.view() for name, column in columns.items()}
    for view in views.values():
        view.setflags(write=False)
    return views


@contextmanager
def asking(
    what: str,
    *,
    but: type[Exception] | tuple[type[Exception], ...] = (),
    secret: bool = False,
) -> Iterator[None]:
    """Call code of `what` inside. What it raises becomes a UsageError with its file and line.

    Lockstep's own errors stay what they are, and so does what the caller words itself: `but`.
    The words of an exception may repeat what the code was given: not where that is `secret`.
    """
    try:
        yield
    except LockstepError:
        raise
    except but:
        raise
    except Exception as error:
        said = "" if secret else ": " + " ".join(str(error).split())[:_LONGEST]
        raise UsageError(
            f"{what} raised {type(error).__name__}{said}{_place(error)}",
            next="mend it there",
        ) from (None if secret else error)


def _place(error: Exception) -> str:
    """The last line of the use case's own code that the error went through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {_short(error.filename)}:{error.lineno}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f" at {_short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
