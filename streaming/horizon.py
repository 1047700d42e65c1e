"""How far back events may still come: what state must be kept, and what may be forgotten."""

from __future__ import annotations

import time

from confluent_kafka.admin import AdminClient

from lockstep.pipeline import Pipeline
from streaming import state_topics
from streaming.state import LiveState

__all__ = ["Horizon"]

_HOUR_US = 3_600_000_000
_EVERY = 64
"""Micro-batches between two looks at what may be forgotten."""


class Horizon:
    """The oldest event that the assigned partitions may still bring.

    A record's event is at most `max_lateness_h` older than the record, so each partition's
    newest record bounds what comes after it. Written by the scoring half, read by whoever
    folds state for a new model.
    """

    def __init__(self, kafka: str, pipeline: Pipeline) -> None:
        self._kafka, self._topic = kafka, pipeline.topics.events
        self._lateness = int(pipeline.stream.max_lateness_h * _HOUR_US)
        self._clock = pipeline.stream.timestamps == "LogAppendTime"
        self._newest: dict[int, int] = {}
        self._batches = 0

    @property
    def time(self) -> int | None:
        """Event time, microseconds; None while no record has been seen."""
        newest = list(self._newest.values())
        return min(newest) - self._lateness if newest else None

    def passed(self, timestamps: dict[int, int]) -> None:
        """Partition -> timestamp (microseconds) of a record that was taken from it."""
        self._newest.update(timestamps)

    def drop(self, partition: int) -> None:
        self._newest.pop(partition, None)

    def look(self, offsets: dict[int, int]) -> dict[int, int]:
        """Timestamps of the records at these offsets: what waits in newly assigned partitions.

        Of a partition where nothing waits: of its last record, or now, where the broker's clock
        stamps records. A partition that is empty says nothing.
        """
        admin = AdminClient({"bootstrap.servers": self._kafka, "log_level": 0})
        places = [(self._topic, partition) for partition in offsets]
        ends, starts = state_topics.ends(admin, places), state_topics.starts(admin, places)
        found, ask = {}, {}
        for place in places:
            waiting = offsets[place[1]] < ends[place]
            if not waiting and self._clock:
                found[place[1]] = time.time_ns() // 1000
            elif ends[place] > starts[place]:
                ask[place] = offsets[place[1]] if waiting else ends[place] - 1
        if ask:
            stamps = state_topics.first_timestamps(self._kafka, ask)
            found |= {place[1]: stamp for place, stamp in stamps.items()}
        return found

    def evict(self, state: LiveState) -> None:
        """Let `state` forget what no event that may still come can see, now and then."""
        self._batches += 1
        if self._batches % _EVERY == 0 and self.time is not None:
            state.evict(self.time)
