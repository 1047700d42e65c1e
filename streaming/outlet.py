"""The worker's writing half, in a thread of its own, one micro-batch behind the scoring half.

The protocol, for each micro-batch:

1. Produce its dead letters, and wait until Kafka has acknowledged them.
2. Look how far Kafka has acknowledged the scored events of the micro-batches before.
3. One transaction: insert the rows, advance the offsets if they are still ours, note how far
   the scored topic is acknowledged.
4. Produce the scored events: what was inserted, or what had been stored before.

Where the warehouse refuses rows in 3 for what is in them, those are found by trial and become
dead letters, and the others begin again at 1. So do they where another worker has taken over a
partition: its part is left out. What turns out to be there already, as the answer to its commit
was lost, goes on at 4.

A crash before 3 commits leaves nothing; the events are read again. A crash after it leaves rows
whose scored events may be missing; the next owner produces those again from the table.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any, TypeVar

import numpy as np
import psycopg

from lockstep.bisection import Rows, bisect
from lockstep.errors import Fenced, LockstepError, reason_of
from lockstep.pipeline import Topics
from lockstep.trouble import Trouble
from lockstep.warehouse.ledger import Ledger
from lockstep.warehouse.micro_batch import MicroBatch
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.trouble import postgres_trouble
from streaming import codec
from streaming.dead_letters import DeadLetter
from streaming.patience import answered, patiently, waits_for
from streaming.room import Room
from streaming.sending import Sender
from streaming.status import Status
from streaming.work import Work

__all__ = ["Outlet"]

T = TypeVar("T")

_IDLE_S = 0.2
"""After this long without work, acknowledgements still open are waited for and noted."""
_MOST_UNACKNOWLEDGED = 16
"""Micro-batches; a restart answers again what was not noted as acknowledged."""
_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


class Outlet:
    """Writes and answers what it is given, in order. `put` blocks while one is being written."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        open_ledger: Callable[[psycopg.Connection[Any]], Ledger],
        sender: Sender,
        topics: Topics,
        room: Room,
        status: Status,
        give_up: threading.Event,
    ) -> None:
        self._connect, self._open_ledger = connect, open_ledger
        self.sender, self._topics, self._status = sender, topics, status
        self._room, self._give_up = room, give_up
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(1)
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._connection: psycopg.Connection[Any] | None = None
        self._ledger: Ledger | None = None
        self._days: set[int] = set()
        self._sent: dict[int, int] = {}
        """Partition -> offset below which scored events are with the producer."""
        self._acknowledged: dict[int, int] = {}
        """The same, and Kafka has acknowledged them; not all of it is in the ledger yet."""
        self._unacknowledged = 0
        self.epochs: dict[int, int] = {}
        """Partition -> the epoch under which this worker owns it; kept by the scoring half."""
        self.overtaken: dict[int, int] = {}
        """Partition -> the epoch under which another worker took it over; kept by this half."""
        self.failure: BaseException | None = None

    def start(self, stop: threading.Event) -> None:
        """Connect, so that the first micro-batch need not. Raises Stopped if told to stop first."""
        patiently(self._warm, "warehouse", self._status, stop)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Hand a micro-batch over. Raises what made the writing half stop."""
        while True:
            if self.failure:
                raise self.failure
            try:
                return self._queue.put(partial(self._write, work), timeout=_IDLE_S)
            except queue.Full:
                continue

    def drain(self) -> None:
        """Wait until what was put is written, answered and noted, or the half has stopped."""
        self._queue.put(self._settle)
        self._queue.join()

    def close(self) -> None:
        """Write what was put, wait for Kafka's acknowledgements, stop. Raises what failed."""
        if self._thread.is_alive():
            self.drain()
            self._queue.put(None)
            self._thread.join()
        if self._connection:
            self._connection.close()
        if self.failure:
            raise self.failure

    def was_overtaken(self) -> bool:
        """Whether another worker has claimed a partition that this one takes for its own."""
        return any(self.epochs.get(n) == epoch for n, epoch in tuple(self.overtaken.items()))

    def _note_acknowledged(self) -> None:
        if self.sender.nothing_open():
            self._acknowledged.update(self._sent)
            self._sent.clear()
            self._unacknowledged = 0

    def _run(self) -> None:
        while True:
            try:
                step = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                self._guard(self._settle)
                continue
            if step is not None:
                self._guard(step)
            self._queue.task_done()
            if step is None:
                return

    def _guard(self, step: Callable[[], None]) -> None:
        if self.failure is None:
            try:
                step()
            except BaseException as error:
                self.failure = error

    def _write(self, work: Work) -> None:
        again = False
        while (batch := self._still_owned(work.batch)).spans:
            owned = {span.partition for span in batch.spans}
            # 1
            self._bury([letter for letter in work.dead if letter.partition in owned])
            work = replace(work, batch=batch, dead=())
            if unanswerable := self._unanswerable(batch):
                work = work.without(batch, unanswerable)
                continue
            # 2
            if self._unacknowledged >= _MOST_UNACKNOWLEDGED:
                self.sender.flush()
            self._note_acknowledged()
            # 3
            try:
                copies, refused = self._committed_or_refused(
                    replace(batch, produced=dict(self._acknowledged)), again
                )
            except Fenced:
                if not (overtaken := self._asked(lambda ledger: ledger.overtaken(batch.spans))):
                    raise
                self.overtaken |= overtaken
                continue
            if refused is None:
                self._answer(work, copies)
                return
            # None of them: what was wrong has passed, unless it comes again.
            work, again = work.without(batch, refused), not refused

    def _answer(self, work: Work, copies: int) -> None:
        batch = work.batch
        self._status.batch_seconds.observe(time.perf_counter() - work.taken_at)
        # 4
        if copies:
            self._status.copies.inc(copies)
            self.sender.answer(self._asked(lambda ledger: ledger.stored(batch)))
        else:
            self.sender.answer_new(batch, work.serving)
        self._sent.update({span.partition: span.next for span in batch.spans})
        self._unacknowledged += 1
        self._status.events.inc(len(batch.ids))
        self._status.scored.inc(len(batch.ids))
        if batch.incomplete is not None:
            self._status.incomplete.inc(int(batch.incomplete.sum()))

    def _bury(self, dead: Sequence[DeadLetter]) -> None:
        self.sender.bury(dead)
        self._status.events.inc(len(dead))
        self._status.dead.inc(len(dead))

    def _unanswerable(self, batch: MicroBatch) -> dict[int, str]:
        """Rows whose answer the scored topic would not take."""
        room = self._room.scored
        if codec.room_for(max(batch.ids, key=len, default="")) <= room:
            return {}
        return {
            row: f"the id has {len(event_id):,} characters: its answer may be larger than the"
            f" {room:,} bytes that {self._topics.scored} takes"
            for row, event_id in enumerate(batch.ids)
            if codec.room_for(event_id) > room
        }

    def _committed_or_refused(
        self, batch: MicroBatch, again: bool
    ) -> tuple[int, dict[int, str] | None]:
        """How many rows were there before; or nothing is written, and these rows are why."""
        try:
            return self._committed(batch), None
        except Exception as error:
            if again or not _of_a_row(error):
                raise
            return 0, self._refused_rows(batch)

    def _refused_rows(self, batch: MicroBatch) -> dict[int, str]:
        """Rows that the warehouse refuses for what is in them: found by trial, nothing is kept."""

        def tried(rows: Rows) -> None:
            self._committed(batch.only(rows), trial=True)

        self._days.clear()  # or what is wrong is that one is gone
        _, refused = bisect(len(batch.ids), tried, own=_of_a_row)
        return {row: f"the warehouse refuses it: {_first(why)}" for row, why in refused.items()}

    def _committed(self, batch: MicroBatch, *, trial: bool = False) -> int:
        def commit(ledger: Ledger) -> int:
            for day in set((batch.event_time // _DAY_US).tolist()) - self._days:
                ensure_stream_day(self._connection, _EPOCH + timedelta(days=day))
                self._days.add(day)
            try:
                return ledger.write(batch, trial=trial)
            except Fenced:
                # It went through before, its answer did not. Which rows were copies is unknown
                # now, and does not matter: answer all of them from the table.
                if ledger.settled(batch.spans):
                    return len(batch.ids)
                raise

        return self._asked(commit)

    def _asked(self, question: Callable[[Ledger], T]) -> T:
        """What the ledger says, whenever it says it."""

        def ask() -> T:
            with self._reconnecting() as ledger:
                return question(ledger)

        return patiently(ask, "warehouse", self._status, self._give_up)

    def _settle(self) -> None:
        """Nothing to do: note what Kafka has acknowledged, so that a restart repeats little."""
        if not self._sent and not self._acknowledged:
            return
        self.sender.flush()
        self._note_acknowledged()
        self._asked(lambda ledger: ledger.acknowledge(self._acknowledged, dict(self.epochs)))
        self._acknowledged.clear()

    @contextmanager
    def _reconnecting(self) -> Iterator[Ledger]:
        """The ledger, over a new connection when the last one broke."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            with answered(self._connection):
                if self._ledger is None:
                    self._ledger = self._open_ledger(self._connection)
                yield self._ledger
        except psycopg.Error as error:
            if waits_for(error):
                self._connection.close()
                self._connection = self._ledger = None
            raise

    def _warm(self) -> None:
        self._connection = self._connect()

    def _still_owned(self, batch: MicroBatch) -> MicroBatch:
        """Leave out partitions that were taken away meanwhile: their new owner reads them."""
        mine = [
            s
            for s in batch.spans
            if self.epochs.get(s.partition) == s.epoch
            and self.overtaken.get(s.partition) != s.epoch
        ]
        if len(mine) == len(batch.spans):
            return batch
        keep = np.isin(batch.partitions, [s.partition for s in mine])
        return replace(batch.only(keep), spans=mine)


def _of_a_row(error: Exception) -> bool:
    """Whether a row's values bring it, again each time."""
    if isinstance(error, psycopg.Error):
        return postgres_trouble(error) is Trouble.OWN
    # A date that no calendar has, text that is none.
    return isinstance(error, ValueError | ArithmeticError) and not isinstance(error, LockstepError)


def _first(error: Exception) -> str:
    """What the database says, without the lines that speak of its insides."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return reason_of(error)
