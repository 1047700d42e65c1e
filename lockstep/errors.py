"""Every error that Lockstep raises on purpose.

    LockstepError
    ├── Terminal              trying again cannot help: something must change first
    │   ├── UsageError        the command or its configuration is wrong
    │   ├── ContractError     data does not fit its contract
    │   ├── CheckFailed       a partition or its predictions miss a gate of the batch
    │   ├── LakeError         a lake partition is missing, empty or of another type
    │   ├── ModelRefused      bytes, digest, operators, golden vectors or approval do not fit
    │   ├── PublishRefused    publishing would contradict what is already published
    │   ├── OffsetsLost       the log no longer continues where the warehouse stopped
    │   ├── SparkFailed       a Spark job failed of what stays: a file, a type, a setting, code
    │   ├── ServiceFailed     a service of the local stack cannot be started or stopped
    │   └── Fenced            another worker or attempt has taken over; this one must stop
    └── Transient             trying again later helps, nothing needs to change
        └── Unreachable       a service does not answer

An error says what is wrong and with which value; `left` says what it leaves behind and
`next` gives the command to type next.
"""

from __future__ import annotations

import json

__all__ = [
    "CheckFailed",
    "ContractError",
    "Fenced",
    "LakeError",
    "LockstepError",
    "ModelRefused",
    "OffsetsLost",
    "PublishRefused",
    "ServiceFailed",
    "SparkFailed",
    "Terminal",
    "Transient",
    "Unreachable",
    "UsageError",
    "marked",
    "marked_in",
    "printable",
    "reason_of",
]

_MARK = "lockstep says "


class LockstepError(Exception):
    """The root. `str()` of it is what a user reads, whole."""

    def __init__(self, message: str, *, left: str | None = None, next: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.left = left
        self.next = next

    def __str__(self) -> str:
        lines = [self.message]
        if self.left:
            lines.append(f"left behind: {self.left}")
        if self.next:
            lines.append(f"next: {self.next}")
        return "\n".join(lines)


class Terminal(LockstepError):
    """Trying again cannot help."""


class UsageError(Terminal):
    """The command or its configuration is wrong."""


class ContractError(Terminal):
    """Data does not fit its contract."""


class CheckFailed(Terminal):
    """A partition or its predictions miss a gate of the batch."""


class LakeError(Terminal):
    """A lake partition is missing, empty or of another type."""


class ModelRefused(Terminal):
    """A model whose bytes, digest, operators, golden vectors or approval do not fit."""


class PublishRefused(Terminal):
    """Publishing would contradict what is already published."""


class OffsetsLost(Terminal):
    """The log no longer continues where the warehouse stopped."""


class SparkFailed(Terminal):
    """A Spark job failed of what stays: a file, a type, a setting, code."""


class ServiceFailed(Terminal):
    """A service of the local stack that cannot be started or stopped."""


class Fenced(Terminal):
    """Another worker or attempt has taken over; this one must stop."""


class Transient(LockstepError):
    """Trying again later helps."""


class Unreachable(Transient):
    """A service does not answer."""


def marked(error: LockstepError) -> str:
    """An error as one line of text that `marked_in` finds again inside a foreign error."""
    return _MARK + json.dumps([type(error).__name__, error.message, error.left, error.next])


def marked_in(text: str) -> LockstepError | None:
    """The first error that `marked` wrote somewhere in `text`, if any."""
    _, found, rest = text.partition(_MARK + "[")
    if not found:
        return None
    (kind, message, left, next_), _ = json.JSONDecoder().raw_decode("[" + rest)
    error: LockstepError = globals()[kind](message, left=left, next=next_)
    return error


def printable(text: str, longest: int | None = None, *, lines: bool = False) -> str:
    """Text from outside as characters that can be seen, on one line unless `lines`.

    Control characters, terminal sequences, marks that turn the direction of writing and halves
    of surrogate pairs are escaped as Python does; at most `longest` characters are left.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    if not text.isprintable():
        text = "".join(
            character
            if character.isprintable() or (lines and character == "\n")
            else character.encode("unicode_escape").decode()
            for character in text
        )
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return text


def reason_of(error: BaseException, longest: int = 500) -> str:
    """An error as a reason, in one line: its type and what it says, whatever it holds."""
    name = type(error).__name__
    try:
        said = error.message if isinstance(error, LockstepError) else str(error)
        return printable(f"{name}: {said}", longest)
    except Exception:
        return name
