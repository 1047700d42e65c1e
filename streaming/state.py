"""The live state of a model's windows: read from the log, never stored anywhere else.

1. `serve_from(time)`: refold the state topics from the record that the oldest window of an
   event at `time` may see. Nothing is snapshotted, so nothing can be counted twice.
2. `ends()` right after events were polled: where the state topics end now. An event that is on
   time was appended before any event that may see it, so nothing before this cut is missing.
3. `catch_up(cut, wait)`: read and fold until there, for a bounded time.
4. `values(...)`: the windows of the polled events.

One thread at a time. State belongs to a set of windows, not to a model: a new model with the
same windows goes on with it, one with others folds its own before it takes over.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from lockstep.contracts import Columns
from lockstep.errors import OffsetsLost, Unreachable
from lockstep.kafka import clients
from lockstep.kafka.reader import Place, Reader, Topic, told
from lockstep.kafka.trouble import LOG_MOVED
from lockstep.kafka.unreadable import is_unreadable, unreadable
from lockstep.pipeline import Pipeline
from lockstep.windows.online import OnlineWindows
from lockstep.windows.semantics import WindowSet
from streaming.judging import available_at, judge_of_state
from streaming.patience import Stopped, waits_for
from streaming.state_topics import require_kept_promises
from streaming.status import Status

__all__ = ["LiveState"]

_CHUNK = 16_384
_POLL_S = 0.002
_LOOK_S = 1.0
"""How often a long fold looks whether it is still wanted, and where the topics end."""
_FOREVER = 2**62


class LiveState:
    """What the windows of one model see, as far as the state topics have been read."""

    def __init__(
        self,
        kafka: str,
        pipeline: Pipeline,
        windows: WindowSet,
        status: Status,
        stop: threading.Event,
    ) -> None:
        self.windows = windows
        self._kafka, self._pipeline, self._status = kafka, pipeline, status
        self._stop = stop
        self._reader = Reader(kafka)
        self._sources = {pipeline.topic_of(source): source for source in windows.sources}
        self._judges = {
            topic: judge_of_state(pipeline.stream, windows, source)
            for topic, source in self._sources.items()
        }
        self._topics: dict[str, Topic] = {}
        self._kept: dict[str, int | None] = {}
        """Topic -> microseconds that it keeps records; None for ever."""
        self._partitions: list[Place] = []
        self._read: dict[Place, int] = {}
        """Where each partition is read up to."""
        self._online: OnlineWindows | None = None
        self._folded = False
        """Whether what it holds is whole from its beginning on."""
        self._folding: int | None = None
        """Where a fold begins that is under way: a broker that goes away does not undo it."""
        self._gone = False
        """The log was deleted under the reader."""
        # By source: each one's log begins where it likes, and its windows reach as far as they do.
        self._lost_before: dict[str, int] = {}
        self._begins: dict[str, int] = {}
        self._consumer = clients.consumer(
            kafka,
            f"lockstep.{pipeline.use_case}.state",
            {
                # A gap at the end of a log (a transaction's marker) is passed like a record.
                "enable.partition.eof": True,
                "queued.min.messages": 100_000,
                "fetch.wait.max.ms": 5,
                "fetch.queue.backoff.ms": 5,
            },
        )

    def open(self) -> None:
        """Look at the topics. Raises Terminal when they cannot keep what a window promises."""
        self._topics = self._reader.topics(self._sources)
        self._partitions = sorted(
            (name, number)
            for name, topic in self._topics.items()
            for number in range(topic.partitions)
        )
        self._kept = require_kept_promises(self._reader, self._pipeline, self.windows)

    def require_same_topics(self) -> None:
        """Raises OffsetsLost when a state topic was recreated or got more partitions."""
        for name, now in self._reader.topics(self._sources).items():
            if now != self._topics[name]:
                raise OffsetsLost(
                    f"the state topic {name} was recreated or has other partitions: it was"
                    f" {self._topics[name]}, and is {now}",
                    left="what was scored",
                    next="start the worker again: it folds the topics as they are now",
                )

    def report_to(self, status: Status) -> None:
        """Whose conditions and counters it keeps from now on."""
        self._status = status

    def close(self) -> None:
        self._consumer.close()

    def serve_from(self, time: int) -> None:
        """Make windows of events from `time` (microseconds) on answerable."""
        needed = self.windows.needed_from(time)
        if self._online is None or not self._folded or needed < self._online.complete_from:
            self._refold(needed)

    @property
    def folded(self) -> bool:
        """False once the log has moved away under the reader: `serve_from` folds again."""
        return self._folded

    def ends(self) -> dict[Place, int]:
        """Where the state topics end now. Raises OffsetsLost when one ends before what was read."""
        found = self._reader.ends(self._partitions)
        for (topic, number), end in found.items():
            if end < self._read.get((topic, number), 0):
                raise OffsetsLost(
                    f"the state topic {topic}[{number}] ends at {end}, but was read up to"
                    f" {self._read[topic, number]}: it was recreated or truncated",
                    left="what was scored; events that were not wait in Kafka",
                    next="restore its records, or replay them; then start the worker again",
                )
        return found

    def cut(self) -> dict[str, list[int]]:
        """Topic -> offset up to which each partition has been folded."""
        found: dict[str, list[int]] = defaultdict(list)
        for topic, number in self._partitions:
            found[topic].append(self._read.get((topic, number), 0))
        return dict(found)

    def catch_up(self, cut: dict[Place, int], wait_s: float) -> bool:
        """Fold until the cut is reached. False when `wait_s` was not enough."""
        deadline = time.monotonic() + wait_s
        while any(self._read[place] < end for place, end in cut.items()):
            self._fold(self._consumer.consume(_CHUNK, _POLL_S))
            if self._gone or time.monotonic() > deadline:
                return False
        return True

    def values(self, columns: Columns, times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """float32[n, windows] of events. Raises ContractError for a sum that is not exact."""
        assert self._online is not None  # noqa: S101 - serve_from came first
        return self._online.values(columns, times)

    def reaches(self, times: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which events' windows lie wholly in the log; those of its first hours do not."""
        return ~self._before(times, self._begins)

    def lost(self, times: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which events' windows see records that the log held once and has deleted."""
        return self._before(times, self._lost_before)

    def _before(
        self, times: np.ndarray[Any, Any], begins: dict[str, int]
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        found = np.zeros(len(times), np.bool_)
        for source, begin in begins.items():
            found |= self.windows.needed_from(times, source) < begin
        return found

    def evict(self, time: int) -> None:
        """Forget what only windows of events before `time` see."""
        if self._online is not None:
            self._online.evict(self.windows.needed_from(time))
            self._show_size(self._online)

    def _refold(self, needed: int) -> None:
        """Begin again, further back. Raises Stopped when the worker is told to stop meanwhile."""
        self._status.fail("windows", "folding the state topics")
        self._folded = False
        if self._folding != needed:
            self._begin(needed)
        while not self.catch_up(self.ends(), _LOOK_S):
            self._status.moved()
            if self._stop.is_set():
                raise Stopped("folding the state topics")
            if self._gone:
                # Retention overtook the fold: again, from where the log begins now.
                self._begin(needed)
        self._folded, self._folding = True, None
        self._status.hold("windows")

    def _begin(self, needed: int) -> None:
        self._folding = None
        # A record is at most clock_skew older than the event in it.
        skew = max(source.clock_skew for source in self.windows.sources.values())
        since_ms = max((needed - skew) // 1000, 0)
        bounds = self._reader.bounds(self._partitions)
        oldest = {place: held.first for place, held in bounds.items()}
        ends = self.ends()
        since = self._reader.since(dict.fromkeys(self._partitions, since_ms))
        begin = {place: ends[place] if at is None else at for place, at in since.items()}
        self._note_where_the_log_begins(oldest, begin, skew)
        self._online = OnlineWindows(self.windows, complete_from=needed)
        self._read, self._gone = dict(begin), False
        self._consumer.assign([TopicPartition(*place, at) for place, at in begin.items()])
        self._folding = needed

    def _note_where_the_log_begins(
        self, oldest: dict[Place, int], begin: dict[Place, int], skew: int
    ) -> None:
        """What is missing before the log's first record: deleted, or never there."""
        self._lost_before, self._begins = {}, {}
        heads = {place: at for place, at in oldest.items() if begin[place] == at}
        if not heads:
            return
        first = {place: ms * 1000 for place, ms in self._reader.timestamps(heads).items()}
        for topic, source in self._sources.items():
            own = {place: at for place, at in first.items() if place[0] == topic}
            mine = [place for place in self._partitions if place[0] == topic]
            now = time.time_ns() // 1000
            cut_off = [first.get(p, now) for p in mine if p in heads and oldest[p] > 0]
            if cut_off:
                # What is gone was older than the first record left, and than the retention.
                # Its event may have been younger than its record by up to the skew.
                gone = min(max(cut_off), now - (self._kept[topic] or 0))
                self._lost_before[source] = gone + skew
            if all(place in heads for place in mine) and not cut_off:
                # Nothing was ever deleted: what is not there, happened before the log began.
                self._begins[source] = min(own.values(), default=_FOREVER) + skew

    def _fold(self, messages: list[Message]) -> None:
        """Fold what came."""
        by_topic: dict[str, list[Message]] = defaultdict(list)
        stuck: set[tuple[str, int]] = set()
        for message in messages:
            error = message.error()
            place = (message.topic(), message.partition())
            if error is None:
                by_topic[place[0]].append(message)
                self._read[place] = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._read[place] = max(self._read[place], message.offset())
            elif error.code() in LOG_MOVED:
                # Retention overtook a reader that had nothing to score for long, or the log was
                # truncated: folding again tells them apart.
                self._folded, self._folding, self._gone = False, None, True
            elif is_unreadable(error):
                stuck.add(place)
            elif not waits_for(KafkaException(error)):
                raise told(self._kafka, KafkaException(error))
        for place in stuck:
            self._step_over(place)
        for topic, records in by_topic.items():
            self._fold_topic(topic, records)

    def _step_over(self, place: tuple[str, int]) -> None:
        """Go on after what the client cannot read: refused, like every other bad record."""
        at = self._read[place]
        try:
            unread = unreadable(self._kafka, *place, at)
        except Unreachable:
            return  # it comes again
        clients.read_from(self._consumer, *place, unread.stop)
        self._read[place] = unread.stop
        self._status.state_refused.inc(len(unread))

    def _fold_topic(self, topic: str, records: list[Message]) -> None:
        assert self._online is not None  # noqa: S101 - _refold assigns both
        values = [record.value() for record in records]
        judged = self._judges[topic].records(values, available_at(records))
        source = self._sources[topic]
        if self._begins.get(source, 0) >= _FOREVER and len(judged.kept):
            skew = self.windows.sources[source].clock_skew
            self._begins[source] = int(judged.available_at.min()) + skew
        found = self._online.fold(source, judged.columns, judged.available_at)
        self._show_size(self._online)
        status = self._status
        status.state_events.inc(found.counted)
        status.state_late.inc(found.late)
        status.state_refused.inc(len(judged.refused))

    def _show_size(self, online: OnlineWindows) -> None:
        self._status.state_cells.set(online.cells)
        self._status.state_keys.set(online.keys)
