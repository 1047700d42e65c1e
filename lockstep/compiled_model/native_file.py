"""The file of a training library that a compiled model was made of, kept beside it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NativeFile"]


@dataclass(frozen=True)
class NativeFile:
    """What `lockstep verify` compares with; nothing that scores opens it."""

    suffix: str
    """By which its library knows it, with the dot."""
    data: bytes
