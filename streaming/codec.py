"""What goes out: scored events, JSON, one for each prediction row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["ScoredEvent", "encode"]


class ScoredEvent(msgspec.Struct, gc=False):
    """The answer to one event. `event_time` in microseconds since 1970 UTC.

    `score` and `margin` are float32 values printed so that reading them gives the same bits.
    """

    event_id: str
    event_time: int
    score: float
    margin: float
    model_version: int
    model_digest: str
    incomplete: bool
    """Scored without all of the state that its windows see."""


def encode(
    ids: Iterable[str],
    times: Iterable[int],
    scores: Iterable[float],
    margins: Iterable[float],
    version: Iterable[int],
    digest: Iterable[str],
    incomplete: Iterable[bool],
) -> Iterator[bytes]:
    """JSON bytes, in order."""
    return map(
        msgspec.json.Encoder().encode,
        map(ScoredEvent, ids, times, scores, margins, version, digest, incomplete),
    )
