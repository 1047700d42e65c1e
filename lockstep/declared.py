"""What a use case declares, checked for its type where it is declared: before anything is read."""

from __future__ import annotations

from typing import Any

from lockstep.errors import UsageError

__all__ = ["require", "shown"]

_LONGEST = 60


def require(holds: bool, name: str, value: Any, wanted: str, write: str) -> None:
    """Raises UsageError saying that `name` is `value` and not `wanted`, and what to write."""
    if not holds:
        raise UsageError(f"{name} is {shown(value)}, not {wanted}", next=f"write {write}")


def shown(value: Any) -> str:
    """A declared value for people, as it would be written, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
