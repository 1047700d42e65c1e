"""How large a record the topics take that the worker writes to: what is sent must fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lockstep.errors import Terminal
from lockstep.kafka.reader import Reader
from lockstep.pipeline import Topics
from streaming.dead_letters import LEAST_ROOM

__all__ = ["Room", "room_of"]

log = logging.getLogger("lockstep.stream")

_USUAL = 2**20
"""Kafka's own default, nearly."""
_MOST = 64 * 2**20
"""A broker hangs up on a request of more than 100 MiB, again and again."""


@dataclass(frozen=True)
class Room:
    """Bytes of a batch of records."""

    scored: int
    dead_letters: int


def room_of(reader: Reader, topics: Topics) -> Room:
    """Ask the broker. Raises Unreachable while it does not answer, Terminal for a topic that
    cannot take what it is for.

    Where this worker may not ask, what Kafka takes by default counts.
    """
    dead_letters = _asked(reader, topics.dead_letters)
    if "compact" in (dead_letters.get("cleanup.policy") or ""):
        raise Terminal(
            f"topic {topics.dead_letters} is compacted: it refuses letters without a key, and of"
            " those with the same key keeps one",
            left="nothing was scored; events wait in Kafka",
            next=f"set cleanup.policy=delete on {topics.dead_letters}",
        )
    return Room(
        _room(topics.scored, _asked(reader, topics.scored)),
        _room(topics.dead_letters, dead_letters),
    )


def _asked(reader: Reader, topic: str) -> dict[str, str | None]:
    try:
        return reader.configs([topic])[topic]
    except Terminal as error:
        log.warning("cannot ask how large the records of %s may be: %s", topic, error.message)
        return {}


def _room(topic: str, config: dict[str, str | None]) -> int:
    room = min(int(config.get("max.message.bytes") or _USUAL), _MOST)
    if room < LEAST_ROOM:
        raise Terminal(
            f"topic {topic} takes messages of {room:,} bytes at most: not even an answer or a"
            " reason fits",
            left="nothing was scored; events wait in Kafka",
            next=f"set max.message.bytes={_USUAL} on {topic}",
        )
    return room
