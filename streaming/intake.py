"""The worker's reading half: poll, judge, score, hand over.

The warehouse's offset is the truth. On assignment this worker takes a new epoch for the
partition and seeks to where the ledger stands; what Kafka remembers of the group is not read.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from lockstep.kafka import clients
from lockstep.kafka.reader import Reader, recorded_at, told
from lockstep.kafka.trouble import LOG_MOVED
from lockstep.kafka.unreadable import is_unreadable, unreadable
from lockstep.pipeline import Pipeline
from lockstep.warehouse.ledger import Ledger, require_within
from lockstep.warehouse.micro_batch import Claim, MicroBatch, Span
from streaming.dead_letters import DeadLetter, dead_letter, unread_letter
from streaming.judging import available_at
from streaming.model_refresh import ModelRefresher, Serving
from streaming.outlet import Outlet
from streaming.patience import Stopped, answered, patiently, waiting, waits_for
from streaming.scoring import answer_of, entities_of, score_survivors
from streaming.state import LiveState
from streaming.status import Status
from streaming.topics import TopicWatch, events_topic
from streaming.windowing import state_at
from streaming.work import Work

__all__ = ["Intake"]

log = logging.getLogger("lockstep.stream")

_IDLE_S = 0.2


class Intake:
    """Reads one topic for as long as `run` runs; the caller owns the thread."""

    def __init__(
        self,
        kafka: str,
        pipeline: Pipeline,
        connect: Callable[[], psycopg.Connection[Any]],
        reader: Reader,
        topic_id: str,
        models: ModelRefresher,
        outlet: Outlet,
        watch: TopicWatch,
        status: Status,
        stop: threading.Event,
        fail: Callable[[], None],
        *,
        accept_loss: bool = False,
    ) -> None:
        self._topics, self._topic = pipeline.topics, pipeline.topics.events
        self._topic_id, self._limits = topic_id, pipeline.stream
        self._connect = connect
        self._models, self._outlet, self._status = models, outlet, status
        self._watch, self._reader, self._kafka = watch, reader, kafka
        # Its own waits end at once when it is told to stop: what was polled stays in Kafka.
        self._stop, self._fail, self._accept_loss = stop, fail, accept_loss
        self._horizon = models.horizon
        self._state: LiveState | None = None
        self._trouble_at = 0.0
        """time.monotonic() when the client last said that something is wrong."""
        self._position: dict[int, int] = {}
        """Partition -> the ledger's next offset once everything handed over is written."""
        self._group = f"lockstep.{pipeline.use_case}.{self._topic}"
        self._configuration: dict[str, Any] = {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000,
            "fetch.wait.max.ms": 5,
            "queued.min.messages": 20_000,
            # The default of a second halves the throughput whenever the queue fills.
            "fetch.queue.backoff.ms": 5,
            "error_cb": self._broker_trouble,
        }
        self._consumer = self._joining()

    def run(self) -> None:
        """Score until told to stop, then hand over what is in hand. Raises what failed."""
        self._subscribe()
        wait_s = self._limits.max_wait_ms / 1000
        try:
            while not self._stop.is_set():
                self._status.moved()
                serving = self._models.serving
                if serving is None:
                    self._wait_for_model()
                    continue
                self._take_over(serving.state)
                messages = self._consumer.consume(self._limits.max_batch, wait_s)
                self._require_nothing_failed()
                if self._outlet.was_overtaken():
                    self._join_again()
                elif messages:
                    self._score(messages, serving)
                elif self._trouble_at < self._watch.well_at:
                    self._status.hold("kafka")
            self._outlet.drain()
        except Stopped as stopped:
            log.info("%s", stopped.message)
            self._outlet.drain()
        except BaseException:
            # Whatever is away now is not waited for without end.
            self._fail()
            raise
        finally:
            self._take_over(None)
            self._consumer.close()

    def _joining(self) -> Consumer:
        # No offset of Kafka's is used: every assignment seeks to the ledger's.
        return clients.consumer(self._kafka, self._group, self._configuration)

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def _join_again(self) -> None:
        """Ask the group what is ours: either it has given us up and we have not heard, or a claim
        of a worker that it had given up came late, and nobody reads that partition.
        """
        log.warning("another worker has claimed a partition of ours: joining the group again")
        self._consumer.close()
        self._consumer = self._joining()
        self._subscribe()

    def _require_nothing_failed(self) -> None:
        if failure := self._outlet.failure or self._watch.failure:
            raise failure

    def _take_over(self, state: LiveState | None) -> None:
        """Go on with the state of the model that serves now; the former one's reader closes."""
        if state is not self._state:
            if self._state is not None:
                self._state.close()
            self._state = state

    def _score(self, messages: list[Message], serving: Serving) -> None:
        taken_at = time.perf_counter()
        spans, good, dead = self._spans(messages)
        if not spans:
            return
        judged = serving.judge.records([message.value() for message in good], available_at(good))
        refused = dict(judged.refused)
        if judged.late.any():
            late = np.flatnonzero(judged.late).tolist()
            refused |= {int(judged.kept[row]): serving.judge.why_late(judged, row) for row in late}
            judged = judged.only(~judged.late)
        windowed = None
        if serving.state is not None and len(judged.kept):
            times = judged.columns[serving.contract.time]
            windowed, gone = state_at(
                serving.state, times, self._horizon.time, self._limits, self._status, self._stop
            )
            if gone:
                refused |= {int(judged.kept[row]): why for row, why in gone.items()}
                left = np.delete(np.arange(len(times)), list(gone))
                judged = judged.only(left)
                windowed = replace(windowed, incomplete=windowed.incomplete[left])
        dead += [dead_letter(good[position], why) for position, why in refused.items()]
        messages = [good[position] for position in judged.kept.tolist()]
        columns = judged.columns
        survivors = score_survivors(
            partial(answer_of, serving, columns, windowed), len(messages), serving.scorer
        )
        dead += [dead_letter(messages[row], why) for row, why in survivors.poison.items()]
        rows = survivors.rows
        kept_messages = [messages[row] for row in rows.tolist()]
        batch = MicroBatch(
            spans=spans,
            ids=columns[serving.contract.id][rows].tolist(),
            event_time=columns[serving.contract.time][rows],
            entity=entities_of(serving.contract, columns, rows),
            score=survivors.score,
            margin=survivors.margin,
            windows=survivors.windows if windowed else None,
            cut=windowed.cut if windowed else None,
            incomplete=windowed.incomplete[rows] if windowed else None,
            partitions=np.fromiter((m.partition() for m in kept_messages), np.int32, len(rows)),
            offsets=np.fromiter((m.offset() for m in kept_messages), np.int64, len(rows)),
            approval=serving.approval,
        )
        self._outlet.put(Work(batch, kept_messages, serving, dead, taken_at))
        self._position.update({span.partition: span.next for span in spans})
        if serving.state is not None:
            # Not before: this micro-batch may hold the oldest events that still come.
            self._horizon.evict(serving.state, self._all_read)

    def _all_read(self, partition: int) -> bool:
        place = TopicPartition(self._topic, partition)
        _, end = self._consumer.get_watermark_offsets(place, cached=True)
        # Negative: nothing was fetched yet, so nobody knows.
        return 0 <= end <= self._position.get(partition, -1)

    def _spans(self, messages: list[Message]) -> tuple[list[Span], list[Message], list[DeadLetter]]:
        """Which stretch of which partition these records are, the records themselves, and those
        that the client cannot hand over.
        """
        good, dead = [], []
        last: dict[int, Message] = {}
        stuck: dict[int, KafkaError] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                if is_unreadable(error):
                    stuck.setdefault(message.partition(), error)
                else:
                    self._record_error(message)
                continue
            # Below the position: read again after a seek, and handed over before.
            if message.offset() >= self._position.get(message.partition(), math.inf):
                last[message.partition()] = message
                good.append(message)
        # Offsets need not be contiguous: transactions and compaction leave gaps.
        following = {number: newest.offset() + 1 for number, newest in last.items()}
        for number, error in stuck.items():
            if number in self._position:
                at = following.get(number, self._position[number])
                if unread := self._step_over(number, at):
                    why = f"cannot be read: {error.str()}"
                    dead += [unread_letter(self._topic, number, offset, why) for offset in unread]
                    following[number] = unread.stop
        spans = [
            Span(number, self._position[number], until, self._outlet.epochs[number])
            for number, until in following.items()
        ]
        stamps = {number: recorded_at(newest) for number, newest in last.items()}
        self._horizon.passed({n: ms * 1000 for n, ms in stamps.items() if ms is not None})
        if good:
            self._status.hold("kafka")
        return spans, good, dead

    def _step_over(self, number: int, at: int) -> range:
        """Go on after what the client cannot read from `at` on; which offsets those are."""
        unread = patiently(
            lambda: unreadable(self._kafka, self._topic, number, at),
            "kafka",
            self._status,
            self._stop,
        )
        clients.read_from(self._consumer, self._topic, number, unread.stop)
        return unread

    def _wait_for_model(self) -> None:
        """Stay in the group, and take no event, until a model may serve."""
        while self._models.serving is None and not self._stop.is_set():
            self._require_nothing_failed()
            self._status.moved()
            # Each time: a partition that is assigned meanwhile begins unpaused.
            self._consumer.pause(self._consumer.assignment())
            message = self._consumer.poll(_IDLE_S)
            if message is None:
                continue
            if message.error():
                self._record_error(message)
            else:
                # It slipped through before the pause: read it again later.
                self._read_again(message.partition())
        self._consumer.resume(self._consumer.assignment())

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        claims = patiently(lambda: self._claim(numbers), "claims", self._status, self._stop)
        # A loss is accepted once, at start; one that comes later is news.
        self._accept_loss = False
        for claim in claims:
            self._outlet.epochs[claim.partition] = claim.epoch
            self._position[claim.partition] = claim.next_offset
        self._fold_for({claim.partition: claim.next_offset for claim in claims})
        consumer.incremental_assign(
            [TopicPartition(self._topic, c.partition, c.next_offset) for c in claims]
        )
        log.info("assigned %s", [(c.partition, c.next_offset, c.epoch) for c in claims])
        self._partitions_changed()

    def _fold_for(self, offsets: dict[int, int]) -> None:
        """State for what waits in newly assigned partitions, before the first of it is scored."""
        patiently(lambda: self._horizon.look(offsets), "kafka", self._status, self._stop)
        serving = self._models.serving
        if serving and serving.state and self._horizon.time is not None:
            oldest, state = self._horizon.time, serving.state
            patiently(lambda: state.serve_from(oldest), "kafka", self._status, self._stop)

    def _claim(self, numbers: list[int]) -> list[Claim]:
        # Kafka is asked while no connection is held: a warehouse is not away because Kafka is slow.
        topic_id = events_topic(self._reader, self._topics).id
        # The topic may have been recreated while this worker was away: that was not accepted.
        accept_loss = self._accept_loss and topic_id == self._topic_id
        with closing(self._connect()) as connection:
            with answered(connection):
                ledger = Ledger(connection, self._topic)
                ledger.open(topic_id, accept_loss=accept_loss)
                for number in numbers:
                    ledger.fence(number)
            # Not before: a former owner that still wrote could go past what we were told.
            bounds = self._reader.bounds((self._topic, number) for number in numbers)
            with answered(connection):
                claims = [
                    ledger.claim(number, *bounds[self._topic, number], accept_loss=accept_loss)
                    for number in numbers
                ]
                answers = [answer for claim in claims for answer in ledger.unanswered(claim)]
            if answers:
                log.info("answering %s events that a former owner may not have", len(answers))
                self._outlet.sender.answer(answers)
                self._outlet.sender.flush()
            with answered(connection):
                ledger.acknowledge(
                    {claim.partition: claim.next_offset for claim in claims},
                    {claim.partition: claim.epoch for claim in claims},
                )
            return claims

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # The successor reads the ledger after our last commit, so nothing is scored twice.
        self._outlet.drain()
        self._drop(consumer, partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Someone else owns them already: what is in flight is fenced off, or left out.
        self._drop(consumer, partitions)

    def _drop(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._outlet.epochs.pop(partition.partition, None)
            self._position.pop(partition.partition, None)
            self._horizon.drop(partition.partition)
        consumer.incremental_unassign(partitions)
        log.info("gave up %s", sorted(partition.partition for partition in partitions))
        self._partitions_changed()

    def _partitions_changed(self) -> None:
        # No partition at all is a standby, and a standby is ready.
        self._status.assigned = sorted(self._outlet.epochs)
        self._status.hold("partitions")

    def _broker_trouble(self, error: KafkaError) -> None:
        # The client goes on trying by itself; what cannot pass comes as a record's error, too.
        self._trouble_at = time.monotonic()
        # Without how long it took and how often it happened: only what is new is logged.
        said = KafkaError(error.code(), error.str().partition(" (after ")[0])
        self._status.fail("kafka", waiting(KafkaException(said)))

    def _record_error(self, message: Message) -> None:
        error = message.error()
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:
            return  # the warehouse was away for long; the partitions are lost and claimed again
        if is_unreadable(error):
            return  # it comes again
        if error.code() in LOG_MOVED:
            self._require_held(message.partition())
        elif waits_for(KafkaException(error)):
            self._broker_trouble(error)
        else:
            raise told(self._kafka, KafkaException(error))

    def _require_held(self, number: int) -> None:
        """Kafka does not hold what comes next, says a broker: is it so?

        Raises OffsetsLost when it is. A broker that has only just become the leader may have been
        mistaken: then reading goes on where it was.
        """
        following, place = self._position.get(number), (self._topic, number)
        if following is None:
            return
        bounds = patiently(
            lambda: self._reader.bounds([place])[place], "kafka", self._status, self._stop
        )
        require_within(self._topic, number, following, *bounds)
        self._read_again(number)

    def _read_again(self, number: int) -> None:
        """Go back to what comes next; also where the client has given the partition up."""
        if number in self._position:
            clients.read_from(self._consumer, self._topic, number, self._position[number])
