"""What goes out: scored events, JSON, one for each prediction row.

A scored event lies in `topics.scored`, in the partition with the number of its event's. Its key
is the event's id in UTF-8, its timestamp is when it was written, and it has no headers.

>>> from streaming.codec import encode
>>> made = encode(["e-1"], [1380585600000000], [0.25], [-1.0986123], [3], ["9f2c"], [False])
>>> print(next(made).decode().replace(",", ",\\n "))
{"event_id":"e-1",
 "event_time":1380585600000000,
 "score":0.25,
 "margin":-1.0986123,
 "model_version":3,
 "model_digest":"9f2c",
 "incomplete":false}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["ScoredEvent", "encode", "room_for"]

_LONGEST_REST = 1024
"""Bytes of an answer and its record without the id."""


class ScoredEvent(msgspec.Struct, gc=False):
    """The answer to one event: every field is always there.

    `score` and `margin` are float32 values printed so that reading them gives the same bits.
    """

    event_id: str
    event_time: int
    """Microseconds since 1970-01-01 UTC."""
    score: float
    """What the model answers: a probability, or a number in the label's unit."""
    margin: float
    """The sum over the trees, before the link makes a score of it."""
    model_version: int
    model_digest: str
    """sha256 of the model that scored it, in hexadecimal."""
    incomplete: bool
    """Whether it was scored without all of the state that its windows see: the score may differ
    from what batch will publish. Always false of a model without windows."""


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


def room_for(event_id: str) -> int:
    """An upper bound of the bytes that the answer to an event takes in a record, key included."""
    # A character takes up to 4 bytes in the key, and up to 6 in JSON.
    return 10 * len(event_id) + _LONGEST_REST
