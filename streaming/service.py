"""One worker: a reading half and a writing half with a queue of depth one between them.

While one micro-batch is written, the next is scored; the two halves meet nowhere else.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from lockstep.kafka import clients
from lockstep.kafka.reader import Reader, told
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Ledger
from streaming.control import ControlTopic
from streaming.intake import Intake
from streaming.model_refresh import ModelRefresher
from streaming.outlet import Outlet
from streaming.patience import Stopped, patiently
from streaming.room import room_of
from streaming.sending import Sender
from streaming.status import Status
from streaming.topics import TopicWatch, events_topic

__all__ = ["ScoringService"]

log = logging.getLogger("lockstep.stream")

_DRAIN_S = 20.0
"""How long a stopping worker waits for a dependency that is away."""


class ScoringService:
    """A streaming worker without its web pages. `run` blocks; `stop` may come from any thread."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, *, accept_loss: bool = False
    ) -> None:
        self.status = Status(pipeline.use_case)
        self._settings, self._pipeline = settings, pipeline
        self._accept_loss = accept_loss
        self._stop, self._give_up = threading.Event(), threading.Event()
        self._reader = Reader(settings.kafka)
        self.models = ModelRefresher(settings, pipeline, self._reader, self.status, self._stop)
        self.failure: BaseException | None = None
        """What ended it, unless it was told to stop."""
        self._ended = threading.Event()
        self._ended.set()

    def stop(self) -> None:
        """Drain: finish what is in hand, wait for acknowledgements, leave the group."""
        if not self._stop.is_set():
            self.status.fail("draining", "stopping")
            self._stop.set()
            timer = threading.Timer(_DRAIN_S, self._give_up.set)
            timer.daemon = True
            timer.start()

    def join(self) -> None:
        """Wait until `run` has ended, or was never begun."""
        self._ended.wait()

    def run(self) -> None:
        """Score until stopped. Keeps what ended it in `failure`, and raises nothing."""
        self._ended.clear()
        try:
            self._score()
        except BaseException as error:
            self.failure = error
        finally:
            self.status.ended = True
            self._ended.set()

    def _score(self) -> None:
        if self._stop.is_set():
            return
        try:
            intake, outlet, watch = self._started()
        except Stopped as error:
            # Nothing is in hand yet: there is nothing to drain.
            log.info("%s", error.message)
            return
        control = ControlTopic(
            self._settings.kafka, self._pipeline.topics.control, self.models.wake
        )
        control.start()
        try:
            intake.run()
        finally:
            self.stop()
            control.stop()
            self.models.join()
            watch.stop()
            outlet.close()

    def _started(self) -> tuple[Intake, Outlet, TopicWatch]:
        """Wait for every service that is needed. Raises Stopped when told to stop meanwhile."""
        settings, topics, status = self._settings, self._pipeline.topics, self.status
        self.models.open()
        known = patiently(
            lambda: events_topic(self._reader, topics).id, "kafka", status, self._stop
        )

        def connect_scorer() -> psycopg.Connection[Any]:
            return connect(settings, "scorer", self._pipeline.use_case)

        def open_ledger(connection: psycopg.Connection[Any]) -> Ledger:
            ledger = Ledger(connection, topics.events)
            # Never accepting a loss: it is accepted at the first claim, and this may come late.
            ledger.open(known)
            return ledger

        room = patiently(lambda: room_of(self._reader, topics), "kafka", status, self._stop)

        def delivered(*report: Any) -> None:
            sender.delivered(*report)

        producer = clients.producer(
            settings.kafka,
            f"lockstep.{self._pipeline.use_case}",
            {
                "enable.idempotence": True,
                "acks": "all",
                # Never drop a record because a broker was away: wait, and say so.
                "message.timeout.ms": 0,
                "linger.ms": 2,
                "batch.num.messages": 100_000,
                # The topics decide what is too large. A batch holds one record, or less than both
                # of them take.
                "message.max.bytes": 1_000_000_000,
                "batch.size": min(room.scored, room.dead_letters, 1_000_000),
                "delivery.report.only.error": True,
                "on_delivery": delivered,
            },
        )
        sender = Sender(producer, topics, room, status, self._give_up)
        outlet = Outlet(connect_scorer, open_ledger, sender, topics, room, status, self._give_up)
        outlet.start(self._stop)

        def warm() -> None:
            try:
                # The connection, before it is needed.
                producer.list_topics(topics.scored, timeout=5.0)
            except KafkaException as error:
                raise told(settings.kafka, error) from None

        patiently(warm, "kafka", status, self._stop)
        self.models.start()
        watch = TopicWatch(self._reader, topics, known, status, self.models.require_same_topics)
        intake = Intake(
            settings.kafka,
            self._pipeline,
            connect_scorer,
            self._reader,
            known,
            self.models,
            outlet,
            watch,
            status,
            self._stop,
            self.stop,
            accept_loss=self._accept_loss,
        )
        return intake, outlet, watch
