"""The file of a training library that a compiled model was made of, kept beside it."""

from __future__ import annotations

from dataclasses import dataclass

from lockstep.errors import UsageError

__all__ = ["SUFFIXES", "NativeFile"]

SUFFIXES = (".ubj",)
"""Of every estimator's files. Beside a model nothing else is taken for a native one: whoever adds
an estimator with other files adds theirs."""


@dataclass(frozen=True)
class NativeFile:
    """What `lockstep verify` compares with; nothing that scores opens it."""

    suffix: str
    """By which its library knows it, with the dot."""
    data: bytes

    def __post_init__(self) -> None:
        if self.suffix not in SUFFIXES:
            raise UsageError(
                f"the estimator's file has the suffix {self.suffix!r}, not one of"
                f" {', '.join(SUFFIXES)}",
                next="write it into SUFFIXES of lockstep/compiled_model/native_file.py",
            )
