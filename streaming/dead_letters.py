"""Events that cannot be scored go to their own topic, with the reason beside them.

A dead letter is the event byte for byte, wherever the topic takes it. What does not fit (a value
that compression made small enough for the events topic, a key, the record's own headers) is
left out whole and named in the header `lockstep.left_out`, so that nothing in a letter is ever
a part of an event that looks like one. The event itself stays where the headers say.

Headers, all UTF-8; they come last, so that they win over a record's own of the same name:

| header | |
|---|---|
| `lockstep.reason` | why it was not scored |
| `lockstep.topic`, `lockstep.partition`, `lockstep.offset` | where the event is |
| `lockstep.bytes`, `lockstep.sha256` | of its value, where it has one |
| `lockstep.left_out` | `value`, `key`, `headers`: what did not fit, or could not be read |
| `lockstep.begins` | the first characters of a value that was left out |

A letter is identified by topic, partition and offset; after a crash the same one may appear
twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from lockstep.errors import printable

__all__ = [
    "HEADER",
    "LEAST_ROOM",
    "DeadLetter",
    "Letter",
    "dead_letter",
    "headers_of",
    "letter_of",
    "unread_letter",
]

HEADER = "lockstep."
_LONGEST_REASON = 500
_BEGINNING = 200
_OVERHEAD = 512
"""Of a batch of one record, and of the lengths in it, in bytes; with room to spare."""
_OF_A_HEADER = 16
LEAST_ROOM = 8192
"""Bytes that a dead letter's topic must take in a message, for a letter that leaves all out."""

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class DeadLetter:
    """A record of the events topic and why it was refused."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes | None = None
    key: bytes | None = None
    headers: Headers = ()
    unread: tuple[str, ...] = field(default=())
    """What of it Kafka's client could not hand over."""


@dataclass(frozen=True)
class Letter:
    """A record for the dead letters' topic."""

    value: bytes | None
    key: bytes | None
    headers: list[tuple[str, bytes | None]]


def dead_letter(message: Message, reason: str) -> DeadLetter:
    """Of a record in hand."""
    own = headers_of(message)
    return DeadLetter(
        topic=str(message.topic()),
        partition=message.partition(),
        offset=message.offset(),
        reason=reason,
        value=message.value(),
        key=message.key(),
        headers=own or (),
        unread=("headers",) if own is None else (),
    )


def unread_letter(topic: str, partition: int, offset: int, reason: str) -> DeadLetter:
    """Of a record that the client cannot hand over."""
    return DeadLetter(topic, partition, offset, reason, unread=("value", "key", "headers"))


def letter_of(dead: DeadLetter, room: int) -> Letter:
    """What is sent: at most `room` bytes (at least LEAST_ROOM), batch and lengths included."""
    left_out = list(dead.unread)
    about = {
        "reason": printable(dead.reason, _LONGEST_REASON),
        "topic": dead.topic,
        "partition": str(dead.partition),
        "offset": str(dead.offset),
    }
    if dead.value is not None:
        about["bytes"] = str(len(dead.value))
        about["sha256"] = hashlib.sha256(dead.value).hexdigest()
    # As if all were left out, so that saying so always fits.
    room -= _OVERHEAD + _size(_ours(about)) + 8 * _BEGINNING

    def fits(part: str, size: int) -> bool:
        nonlocal room
        if size > room:
            left_out.append(part)
            return False
        room -= size
        return True

    key = dead.key if fits("key", len(dead.key or b"")) else None
    value = dead.value if fits("value", len(dead.value or b"")) else None
    own = dead.headers if fits("headers", _size(dead.headers)) else ()
    if left_out:
        about["left_out"] = ",".join(left_out)
    if dead.value is not None and value is None:
        beginning = dead.value[:_BEGINNING].decode(errors="replace")
        about["begins"] = printable(beginning, _BEGINNING)
    return Letter(value, key, [*own, *_ours(about)])


def headers_of(message: Message) -> list[tuple[str, bytes | None]] | None:
    """A record's headers, in order; None when the client cannot hand them over."""
    try:
        return list(message.headers() or ())
    except (SystemError, UnicodeDecodeError):
        # A name that is not UTF-8.
        return None


def _ours(about: dict[str, str]) -> list[tuple[str, bytes | None]]:
    return [(f"{HEADER}{name}", text.encode(errors="replace")) for name, text in about.items()]


def _size(headers: Any) -> int:
    """An upper bound of the bytes that headers take in a record."""
    return sum(4 * len(name) + len(value or b"") + _OF_A_HEADER for name, value in headers)
