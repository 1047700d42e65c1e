"""What a topic's log holds: which topic it is, and each partition's first and next offset."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockstep.errors import OffsetsLost, Terminal, Transient
from lockstep.kafka.reader import Reader

__all__ = ["Log", "Position", "log_of", "require_timestamps", "stretch_of_log"]

_TIMEOUT_S = 10.0
_LEFT = "what was landed before stays in the lake; nothing was added"
_AGAIN = (
    "remove {} and land again: the log is landed from its first record, and copies of what the"
    " lake has are read once"
)

Position = Mapping[str, Any]
"""A place in a log, as Spark keeps it in the checkpoint: {"topic_id": ..., "next": {"0": 17}}."""


@dataclass(frozen=True)
class Log:
    """A topic as it is now. Offsets by partition."""

    topic: str
    topic_id: str
    """Kafka's own id: a topic that is deleted and created again has another."""
    first: Mapping[int, int]
    next: Mapping[int, int]
    """The end, without what an open transaction holds back."""

    def position(self, offsets: Mapping[int, int]) -> dict[str, Any]:
        """A place in this log, always written the same way."""
        kept = {str(number): offsets[number] for number in sorted(offsets)}
        return {"topic_id": self.topic_id, "next": kept}

    def offsets(self, position: Position, checkpoint: str) -> dict[int, int]:
        """The offsets of a place in this log; a partition that is new since starts at 0.

        Raises OffsetsLost when the place is in another log, or not within this one.
        """
        self.require(position["topic_id"], checkpoint)
        known = {int(number): offset for number, offset in position["next"].items()}
        offsets = {number: known.get(number, 0) for number in self.next}
        for number, offset in offsets.items():
            if not self.first[number] <= offset <= self.next[number]:
                raise OffsetsLost(
                    f"{self.topic}[{number}] was landed up to offset {offset}, but its log now"
                    f" holds {self.first[number]} to {self.next[number]}: records are lost",
                    left=_LEFT,
                    next="keep records for longer than landings are apart; to go on with what is"
                    f" left, {_AGAIN.format(checkpoint)}",
                )
        return offsets

    def require(self, topic_id: str, checkpoint: str) -> None:
        """Raises OffsetsLost when this is not the topic of that id."""
        if topic_id != self.topic_id:
            raise OffsetsLost(
                f"topic {self.topic} was recreated: it was landed with the id {topic_id}, now its"
                f" id is {self.topic_id}",
                left=_LEFT,
                next=_AGAIN.format(checkpoint),
            )


def log_of(kafka: str, topic: str) -> Log:
    """Ask the broker. Raises Terminal for a missing topic, Unreachable without a broker."""
    reader, deadline = Reader(kafka), time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return _look(reader, topic)
        except Transient:
            # A partition is without a leader for a moment after its topic was created.
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _look(reader: Reader, topic: str) -> Log:
    described = reader.topics([topic])[topic]
    bounds = reader.bounds((topic, number) for number in range(described.partitions))
    first = {number: held.first for (_, number), held in bounds.items()}
    return Log(
        topic, described.id, first, {number: held.end for (_, number), held in bounds.items()}
    )


def require_timestamps(kafka: str, topic: str, expected: str) -> None:
    """Raises Terminal when the topic's timestamps are not those that pipeline.toml says."""
    found = Reader(kafka).configs([topic])[topic].get("message.timestamp.type")
    if found != expected:
        raise Terminal(
            f"topic {topic} has message.timestamp.type {found}, pipeline.toml says {expected}:"
            " when a record became readable would be misjudged",
            left="nothing was landed",
            next=f"set message.timestamp.type of {topic}, or correct stream.timestamps",
        )


def stretch_of_log(first: int, following: int, size: int) -> list[tuple[int, int]]:
    """[first, following) in pieces of at most `size` offsets: always the same pieces."""
    return [(at, min(at + size, following)) for at in range(first, following, size)]
