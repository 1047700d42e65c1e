"""What a use case declares, checked for its type where it is declared: before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lockstep.errors import UsageError

__all__ = ["is_finite", "is_plain", "require", "shown"]

_LONGEST = 60


def require(holds: bool, name: str, value: Any, wanted: str, write: str) -> None:
    """Raises UsageError saying that `name` is `value` and not `wanted`, and what to write."""
    if not holds:
        raise UsageError(f"{name} is {shown(value)}, not {wanted}", next=f"write {write}")


def shown(value: Any) -> str:
    """A declared value for people, as it would be written, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def is_finite(value: Any) -> bool:
    """Whether it is a number, and no truth value."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_plain(value: Any) -> bool:
    """Whether JSON says the same again: the manifest keeps parameters."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(part) for key, part in value.items())
    return isinstance(value, str | bool) or is_finite(value)
