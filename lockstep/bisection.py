"""Find the rows that something cannot be done with, so that it is done with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

__all__ = ["Rows", "bisect"]

T = TypeVar("T")

Rows = np.ndarray[Any, np.dtype[np.int64]]
"""Row numbers, growing."""


def bisect(
    rows: int, attempt: Callable[[Rows], T], own: Callable[[Exception], bool] = lambda _: True
) -> tuple[list[tuple[Rows, T]], dict[int, Exception]]:
    """Call `attempt` with all of `rows` rows, or with ever smaller parts of them while it raises.

    Returns the parts that went through, in order, with what `attempt` returned, and the rows
    that raise by themselves, with what they raise. An error that no row brings (MemoryError, or
    what `own` says is not of a row's making) passes through at once.
    """
    went: list[tuple[Rows, T]] = []
    raising: dict[int, Exception] = {}

    def go(part: Rows) -> None:
        try:
            result = attempt(part)
        except MemoryError:
            raise
        except Exception as error:
            if not own(error):
                raise
            if len(part) == 1:
                raising[int(part[0])] = error
                return
            middle = len(part) // 2
            go(part[:middle])
            go(part[middle:])
        else:
            went.append((part, result))

    if rows:
        go(np.arange(rows))
    return went, raising
