"""The topics a worker needs: that they exist, fit each other, and are still the same ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lockstep.errors import OffsetsLost, Terminal, Transient
from lockstep.kafka.reader import Reader, Topic
from lockstep.pipeline import Topics
from streaming.patience import waiting
from streaming.status import Status

__all__ = ["TopicWatch", "events_topic"]

_LOOK_S = 2.0


def events_topic(reader: Reader, topics: Topics) -> Topic:
    """The events topic; one that is deleted and created again has another id.

    Raises Terminal when a topic is missing or the scored topic has too few partitions, and
    Unreachable while Kafka does not answer.
    """
    known = reader.topics([topics.events, topics.scored, topics.dead_letters])
    events, scored = known[topics.events], known[topics.scored]
    if scored.partitions < events.partitions:
        raise Terminal(
            f"topic {topics.scored} has {scored.partitions} partitions, {topics.events}"
            f" has {events.partitions}: answers keep their event's partition",
            left="nothing was scored; events wait in Kafka",
            next=f"add partitions to {topics.scored}",
        )
    return events


class TopicWatch:
    """Notices that the events topic was recreated under a running worker.

    The client goes on at its old offset in the new log, if that has as many events, and so
    skips those below it. What was scored meanwhile stays; --accept-loss reads the rest.
    `also` looks at what else must stay as it was, and raises Terminal when it did not.

    It is also who notices that Kafka does not answer a worker that has nothing to do.
    """

    def __init__(
        self,
        reader: Reader,
        topics: Topics,
        known: str,
        status: Status,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader, self._topics, self._known, self._also = reader, topics, known, also
        self._status = status
        self._stop = threading.Event()
        self.well_at = 0.0
        """time.monotonic() when it last began to look, and all that a worker needs answered."""
        self.failure: Exception | None = None
        threading.Thread(target=self._look, name="topic-watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_S) and self.failure is None:
            began = time.monotonic()
            try:
                self._require_the_same()
            except Transient as error:
                self._status.fail("kafka", waiting(error))
            except Exception as error:
                self.failure = error
            else:
                self._status.hold("kafka")
                self.well_at = began

    def _require_the_same(self) -> None:
        found = events_topic(self._reader, self._topics)
        if found.id != self._known:
            raise OffsetsLost(
                f"topic {self._topics.events} was recreated: its id was {self._known},"
                f" and is {found.id}",
                left="what was scored; the new log's first events may be unread",
                next="lockstep stream USE_CASE --accept-loss"
                " (reads the new log from its beginning; copies keep their scores)",
            )
        # Who leads a partition answers for it; the others may be well.
        self._reader.ends((self._topics.events, number) for number in range(found.partitions))
        self._also()
