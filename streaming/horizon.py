"""How far back events may still come: what state must be kept, and what may be forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable

from lockstep.kafka.reader import Reader
from lockstep.pipeline import Pipeline
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

    def __init__(self, reader: Reader, pipeline: Pipeline) -> None:
        self._reader, self._topic = reader, pipeline.topics.events
        self._lateness = pipeline.stream.max_lateness_us
        self._skew = pipeline.stream.clock_skew_us
        self._clock = pipeline.stream.timestamps == "LogAppendTime"
        self._newest: dict[int, int] = {}
        self._idle: dict[int, int] = {}
        """Partitions where nothing waits: they hold nothing back while others bring events."""
        self._assigned: set[int] = set()
        self._batches = 0

    @property
    def time(self) -> int | None:
        """Event time, microseconds; None while no partition is assigned."""
        newest, idle = list(self._newest.values()), list(self._idle.values())
        if newest:
            return min(newest) - self._lateness
        if idle:
            return max(idle) - self._lateness
        # Of partitions that never held a record: what comes will most likely happen now.
        return time.time_ns() // 1000 - self._lateness if self._assigned else None

    def passed(self, timestamps: dict[int, int]) -> None:
        """Partition -> timestamp (microseconds) of a record that was taken from it."""
        for partition, said in timestamps.items():
            # Where producers stamp records, one of 2100 lets no state of now be forgotten, and
            # one of 1970 asks for no state of 1970.
            stamp = self._not_ahead(said)
            self._newest[partition] = max(stamp, self._newest.get(partition, stamp))
            self._idle.pop(partition, None)

    def drop(self, partition: int) -> None:
        self._assigned.discard(partition)
        self._newest.pop(partition, None)
        self._idle.pop(partition, None)

    def look(self, offsets: dict[int, int]) -> None:
        """Note the records at these offsets: what waits in newly assigned partitions.

        Of a partition where nothing waits: its last record, or now, where the broker's clock
        stamps records. A partition that is empty says nothing while others do.
        """
        self._assigned.update(offsets)
        bounds = self._reader.bounds((self._topic, partition) for partition in offsets)
        ask = {}
        for place, (first, end) in bounds.items():
            partition = place[1]
            if offsets[partition] < end:
                ask[place] = offsets[partition]
            elif self._clock:
                self._idle[partition] = time.time_ns() // 1000
            elif end > first:
                ask[place] = end - 1
        for place, ms in self._reader.timestamps(ask).items():
            waits = offsets[place[1]] < bounds[place].end
            (self._newest if waits else self._idle)[place[1]] = self._not_ahead(ms * 1000)

    def _not_ahead(self, stamp: int) -> int:
        return min(stamp, time.time_ns() // 1000 + self._skew)

    def evict(self, state: LiveState, idle: Callable[[int], bool]) -> None:
        """Let `state` forget what no event that may still come can see, now and then.

        `idle` says of a partition whether all of it has been read.
        """
        self._batches += 1
        if self._batches % _EVERY:
            return
        for partition in [partition for partition in self._newest if idle(partition)]:
            stamp = self._newest.pop(partition)
            self._idle[partition] = time.time_ns() // 1000 if self._clock else stamp
        if self.time is not None:
            state.evict(self.time)
