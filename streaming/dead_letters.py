"""Events that cannot be scored go to their own topic, byte for byte, with the reason beside them.

A dead letter is identified by the topic, partition and offset in its headers; after a crash
the same one may appear twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

__all__ = ["HEADER", "DeadLetter", "headers"]

HEADER = "lockstep."
_LONGEST_REASON = 500


@dataclass(frozen=True)
class DeadLetter:
    """A record of the events topic and why it was refused."""

    message: Message
    reason: str


def headers(letter: DeadLetter) -> list[tuple[str, Any]]:
    """The record's own headers, then where it was and why it is here."""
    message = letter.message
    try:
        own = message.headers() or []
    except (SystemError, UnicodeDecodeError):
        # The client cannot hand over keys that are not UTF-8.
        own = [(f"{HEADER}headers", b"unreadable: a key is not UTF-8")]
    return [
        *own,
        (f"{HEADER}reason", letter.reason[:_LONGEST_REASON].encode(errors="replace")),
        (f"{HEADER}topic", str(message.topic()).encode()),
        (f"{HEADER}partition", str(message.partition()).encode()),
        (f"{HEADER}offset", str(message.offset()).encode()),
    ]
