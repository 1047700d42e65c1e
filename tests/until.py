"""Waiting for what other processes do: one way, and one limit that no loaded machine reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["LIMIT_S", "until"]

LIMIT_S = 240
"""Longer than anything takes, however busy the machine is; less than a test may take in all."""

T = TypeVar("T")


def until(
    condition: Callable[[], T], what: str, limit_s: float = LIMIT_S, *, pause_s: float = 0.02
) -> T:
    """Poll until `condition` is true, and return what it gave; fail naming `what` if it never is.

    A condition that cannot tell just now is false: it does not raise.
    """
    deadline = time.monotonic() + limit_s
    while True:
        # Asked first: who was kept from asking until it was over asks once more.
        over = time.monotonic() > deadline
        if result := condition():
            return result
        assert not over, f"after {limit_s:.0f} s still not: {what}"
        time.sleep(pause_s)
