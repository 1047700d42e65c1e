"""The worker's writing half, in a thread of its own, one micro-batch behind the scoring half.

The protocol, for each micro-batch:

1. Produce its dead letters, and wait until Kafka has acknowledged them.
2. Look how far Kafka has acknowledged the scored events of the micro-batches before.
3. One transaction: insert the rows, advance the offsets if they are still ours, note how far
   the scored topic is acknowledged.
4. Produce the scored events: what was inserted, or what had been stored before.

Where the warehouse refuses rows in 3 for what is in them, those are found by trial and become
dead letters, and the others begin again at 1.

A crash before 3 commits leaves nothing; the events are read again. A crash after it leaves rows
whose scored events may be missing; the next owner produces those again from the table.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import psycopg
from confluent_kafka import KafkaError, Message, Producer

from lockstep.bisection import Rows, bisect
from lockstep.errors import Fenced, LockstepError, Terminal, Unreachable, reason_of
from lockstep.pipeline import Topics
from lockstep.trouble import Trouble
from lockstep.warehouse.ledger import Answer, Ledger, MicroBatch
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.trouble import postgres_trouble
from streaming import codec
from streaming.dead_letters import LEAST_ROOM, DeadLetter, letter_of
from streaming.model_refresh import Serving
from streaming.patience import answered, patiently, waits_for
from streaming.room import Room
from streaming.status import Status
from streaming.work import Work

__all__ = ["Outlet"]

log = logging.getLogger("lockstep.stream")

_IDLE_S = 0.2
"""After this long without work, acknowledgements still open are waited for and noted."""
_FLUSH_S = 1.0
_MOST_UNACKNOWLEDGED = 16
"""Micro-batches; a restart answers again what was not noted as acknowledged."""
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


class Outlet:
    """Writes and answers what it is given, in order. `put` blocks while one is being written."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        open_ledger: Callable[[psycopg.Connection[Any]], Ledger],
        producer: Producer,
        topics: Topics,
        room: Room,
        status: Status,
        give_up: threading.Event,
    ) -> None:
        self._connect, self._open_ledger = connect, open_ledger
        self._producer, self._topics, self._status = producer, topics, status
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
        self._refused: list[str] = []
        self.epochs: dict[int, int] = {}
        """Partition -> the epoch under which this worker owns it; kept by the scoring half."""
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

    def answer(self, answers: Sequence[Answer]) -> None:
        """Produce stored scores. Thread-safe."""
        payloads = codec.encode(
            [a.event_id for a in answers],
            [a.event_time for a in answers],
            [a.score for a in answers],
            [a.margin for a in answers],
            [a.model_version for a in answers],
            [a.model_digest for a in answers],
            [a.incomplete for a in answers],
        )
        self._produce((a.partition for a in answers), (a.event_id for a in answers), payloads)

    def flush(self) -> None:
        """Wait until Kafka has acknowledged everything that was produced.

        Raises Terminal when it refuses a record, Unreachable when told to give up waiting.
        """
        patiently(self._flushed, "kafka", self._status, self._give_up)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """The producer's report of a record that Kafka refused."""
        if error is not None:
            self._refused.append(f"{message.topic()}[{message.partition()}]: {error.str()}")

    def _flushed(self) -> None:
        waiting = self._producer.flush(_FLUSH_S)
        self._require_none_refused()
        if waiting:
            raise Unreachable(f"Kafka has not acknowledged {waiting} records")

    def _note_acknowledged(self) -> None:
        # Asking for a report on each record would cost as much as producing it.
        self._producer.poll(0)
        # In this order: a refusal is reported before its record stops counting.
        nothing_open = not len(self._producer)
        self._require_none_refused()
        if nothing_open:
            self._acknowledged.update(self._sent)
            self._sent.clear()
            self._unacknowledged = 0

    def _require_none_refused(self) -> None:
        if self._refused:
            raise Terminal(
                f"Kafka refused {len(self._refused)} records, first {self._refused[0]}",
                left="rows already written; their scored events are produced again at restart",
                next="correct the topic's limits or rights, then start the worker again",
            )

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

    def _write(self, work: Work, *, again: bool = False) -> None:
        batch = self._still_owned(work.batch)
        owned = {span.partition for span in batch.spans}
        # 1
        self._bury([letter for letter in work.dead if letter.partition in owned])
        if unanswerable := self._unanswerable(batch):
            self._write(work.without(batch, unanswerable))
            return
        # 2
        if self._unacknowledged >= _MOST_UNACKNOWLEDGED:
            self.flush()
        self._note_acknowledged()
        # 3
        batch = replace(batch, produced=dict(self._acknowledged))
        try:
            copies = patiently(
                lambda: self._committed(batch), "warehouse", self._status, self._give_up
            )
        except Fenced:
            if self._still_owned(work.batch).spans == batch.spans:
                raise
            # Taken away while this waited: the new owner reads what is no longer ours.
            self._write(replace(work, batch=self._still_owned(work.batch), dead=()))
            return
        except Exception as error:
            if again or not _of_a_row(error):
                raise
            refused = self._refused_rows(batch)
            # None: what was wrong has passed, unless it comes again.
            self._write(work.without(batch, refused), again=not refused)
            return
        self._status.batch_seconds.observe(time.perf_counter() - work.taken_at)
        # 4
        if copies:
            self._status.copies.inc(copies)
            self.answer(self._stored(batch))
        else:
            self._answer_new(batch, work.serving)
        self._sent.update({span.partition: span.next for span in batch.spans})
        self._unacknowledged += 1
        self._status.events.inc(len(batch.ids))
        self._status.scored.inc(len(batch.ids))
        if batch.incomplete is not None:
            self._status.incomplete.inc(int(batch.incomplete.sum()))

    def _bury(self, dead: Sequence[DeadLetter]) -> None:
        """Produce dead letters, and wait until Kafka has them."""
        too_large: list[DeadLetter] = []
        for letter in dead:
            self._send_letter(letter, self._room.dead_letters, too_large)
        if dead:
            self.flush()
        # The topic takes less than it did: one by one, with what is in any letter.
        for letter in too_large:
            self._send_letter(letter, LEAST_ROOM)
            self.flush()
        self._status.events.inc(len(dead))
        self._status.dead.inc(len(dead))

    def _send_letter(
        self, dead: DeadLetter, room: int, too_large: list[DeadLetter] | None = None
    ) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None and too_large is not None and error.code() in _TOO_LARGE:
                too_large.append(dead)
            else:
                self.delivered(error, message)

        letter = letter_of(dead, room)
        self._send(
            self._topics.dead_letters,
            letter.value,
            key=letter.key,
            headers=letter.headers,
            on_delivery=delivered,
        )

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

    def _refused_rows(self, batch: MicroBatch) -> dict[int, str]:
        """Rows that the warehouse refuses for what is in them: found by trial, nothing is kept."""

        def tried(rows: Rows) -> None:
            part = batch.only(rows)
            patiently(
                lambda: self._committed(part, trial=True), "warehouse", self._status, self._give_up
            )

        self._days.clear()  # or what is wrong is that one is gone
        _, refused = bisect(len(batch.ids), tried, own=_of_a_row)
        return {row: f"the warehouse refuses it: {_first(why)}" for row, why in refused.items()}

    def _committed(self, batch: MicroBatch, *, trial: bool = False) -> int:
        after_a_break = self._ledger is None
        with self._reconnecting() as ledger:
            # The commit went through, its answer did not. Which rows were copies is unknown
            # now, and does not matter: answer all of them from the table.
            if after_a_break and ledger.settled(batch.spans):
                return len(batch.ids)
            for day in set((batch.event_time // _DAY_US).tolist()) - self._days:
                ensure_stream_day(self._connection, _EPOCH + timedelta(days=day))
                self._days.add(day)
            try:
                return ledger.write(batch, trial=trial)
            except Fenced:
                # It was still committing when we asked.
                if after_a_break and ledger.settled(batch.spans):
                    return len(batch.ids)
                raise

    def _stored(self, batch: MicroBatch) -> list[Answer]:
        def read() -> list[Answer]:
            with self._reconnecting() as ledger:
                return ledger.stored(batch)

        return patiently(read, "warehouse", self._status, self._give_up)

    def _settle(self) -> None:
        """Nothing to do: note what Kafka has acknowledged, so that a restart repeats little."""
        if not self._sent and not self._acknowledged:
            return
        self.flush()
        self._note_acknowledged()

        def acknowledge() -> None:
            with self._reconnecting() as ledger:
                ledger.acknowledge(self._acknowledged, dict(self.epochs))

        patiently(acknowledge, "warehouse", self._status, self._give_up)
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
        with self._reconnecting():
            pass

    def _still_owned(self, batch: MicroBatch) -> MicroBatch:
        """Leave out partitions that were taken away meanwhile: their new owner reads them."""
        mine = [s for s in batch.spans if self.epochs.get(s.partition) == s.epoch]
        if len(mine) == len(batch.spans):
            return batch
        keep = np.isin(batch.partitions, [s.partition for s in mine])
        return replace(batch.only(keep), spans=mine)

    def _answer_new(self, batch: MicroBatch, serving: Serving) -> None:
        payloads = codec.encode(
            batch.ids,
            batch.event_time.tolist(),
            batch.score.tolist(),
            batch.margin.tolist(),
            repeat(serving.version),
            repeat(serving.digest),
            repeat(False) if batch.incomplete is None else batch.incomplete.tolist(),
        )
        self._produce(batch.partitions.tolist(), batch.ids, payloads)

    def _produce(
        self, partitions: Iterable[int], keys: Iterable[str], payloads: Iterable[bytes]
    ) -> None:
        topic, send = self._topics.scored, self._producer.produce
        for partition, key, payload in zip(partitions, keys, payloads, strict=True):
            try:
                send(topic, payload, key, partition)
            except BufferError:
                self._send(topic, payload, key=key, partition=partition)

    def _send(self, topic: str, value: bytes | None, **more: Any) -> None:
        """Produce, waiting for room in the producer's own queue."""
        while True:
            try:
                return self._producer.produce(topic, value, **more)
            except BufferError:
                self._producer.poll(0.1)
                if self._give_up.is_set():
                    raise Unreachable("stopped while Kafka's producer had no room") from None


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
