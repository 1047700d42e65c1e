"""A worker that only waits is not stuck, whatever it waits for: each wait shows that it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer

from lockstep.kafka.reader import Reader
from lockstep.pipeline import Topics
from lockstep.warehouse.micro_batch import Answer
from streaming.model_refresh import ModelRefresher
from streaming.patience import Stopped
from streaming.room import Room
from streaming.sending import Sender
from streaming.status import STUCK_AFTER_S, Status
from tests.streaming.deployment import Deployment

LIMIT_S = 60
NOBODY = "127.0.0.1:1"
TOPICS = Topics("t.events", "t.scored", "t.dead_letters", "t.control")


def long_ago(status: Status) -> Status:
    """As if nothing had moved in it for long."""
    status.moved_at -= STUCK_AFTER_S + 1
    return status


def test_a_full_queue_of_the_producer_is_waited_out_and_said() -> None:
    """As while a broker is away: nothing is acknowledged, and records come."""
    status, give_up, said = long_ago(Status("t")), threading.Event(), threading.Event()
    producer = Producer(
        {"bootstrap.servers": NOBODY, "log_level": 0, "queue.buffering.max.messages": 1}
    )
    sender = Sender(producer, TOPICS, Room(1_000, 1_000), status, give_up)
    told: list[tuple[str, str, str | None]] = []

    def hear(name: str, why: str) -> None:
        told.append((name, why, status.stuck))
        said.set()

    status.fail = hear  # type: ignore[method-assign]
    ended: list[BaseException] = []

    def answer() -> None:
        try:
            sender.answer([Answer(x, 0, 0.5, 0.0, 1, "d" * 64, 0, False) for x in "ab"])
        except Stopped as error:
            ended.append(error)

    worker = threading.Thread(target=answer)
    worker.start()
    try:
        assert said.wait(LIMIT_S), "nobody hears that it waits for Kafka"
    finally:
        give_up.set()
        worker.join()
        producer.purge()
    [name, why, stuck] = told[0]
    assert (name, stuck) == ("kafka", None)
    assert "no room for records for t.scored" in why
    assert ended


def test_a_model_that_comes_for_long_moves_what_waits_for_it(
    deployment: Deployment, approve_other: Callable[[], str], tmp_path: Path
) -> None:
    """Nobody else can while the first one comes; for a later one no other part is spoken for."""
    settings = deployment.settings.model_copy(update={"home": tmp_path / "nothing cached"})
    status, stop = Status(deployment.use_case), threading.Event()
    reader = Reader(settings.kafka)
    refresher = ModelRefresher(settings, deployment.pipeline, reader, status, stop)
    moved: list[tuple[str, bool]] = []
    move = status.moved

    def noted() -> None:
        moved.append((threading.current_thread().name, refresher.serving is not None))
        move()

    status.moved = noted  # type: ignore[method-assign]
    refresher.open()
    # The registry's word on the version, and its bytes.
    here = threading.current_thread().name
    assert moved.count((here, False)) >= 2, moved
    later = approve_other()
    refresher.start()
    deadline = time.monotonic() + LIMIT_S
    while refresher.serving is None or refresher.serving.digest != later:
        assert time.monotonic() < deadline, status.conditions
        time.sleep(0.01)
    stop.set()
    refresher.join()
    assert {name for name, _ in moved} == {here}
