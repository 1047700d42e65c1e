"""What one step hands to the next: small facts that travel as JSON and pin a run.

Every step works on what these facts name (this digest, this input) and refuses anything else,
so that a run cannot begin with one model and end with another.
"""

from __future__ import annotations

from datetime import date
from typing import TypeVar

import msgspec

from lockstep.errors import UsageError

__all__ = ["Pin", "Plan", "Run", "decode", "encode"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Which day of which use case, and by what name its attempts are found again."""

    use_case: str
    day: date
    run_id: str


class Pin(Run, frozen=True, kw_only=True):
    """A run, and the model that it uses to its end."""

    approval: int
    """Sequence of the approval that named the digest."""
    model_version: int
    digest: str


class Plan(Pin, frozen=True, kw_only=True):
    """A pinned run, and the input that was checked."""

    source: str
    """The lake's table."""
    input_fingerprint: str
    input_rows: int
    """Distinct events."""
    input_copies: int
    """Rows that repeat the identity of another: not scored."""
    input_refused: int
    """Rows from Kafka that are no events for this model, as a worker found, too: not scored."""
    publish_id: str
    published: bool
    """Whether readers see this very publish already: then nothing is checked or scored."""


Facts = TypeVar("Facts", bound=Run)


def encode(facts: Run) -> str:
    """One line of JSON."""
    return msgspec.json.encode(facts).decode()


def decode(text: str, kind: type[Facts]) -> Facts:
    """Raises UsageError when `text` is not what `encode` made of a `kind`."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"this is no {kind.__name__.lower()} of a batch run: {error} (value: {text[:80]!r})",
            next="lockstep score USE_CASE --partition DAY",
        ) from None
