"""What Kafka does not take now is sent when it does; what it refuses for good ends the wait."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import NewPartitions

from lockstep.errors import Terminal
from lockstep.warehouse.micro_batch import Answer
from streaming.dead_letters import DeadLetter
from streaming.patience import Stopped
from streaming.room import Room
from streaming.sending import Sender
from streaming.status import Status
from tests.streaming.deployment import Deployment
from tests.streaming.nasty import about, limit


class Bench:
    """A sender whose producer knows the topics as they were."""

    def __init__(self, deployment: Deployment, room: int = 1_000_000) -> None:
        self.producer = Producer(
            {"bootstrap.servers": deployment.settings.kafka, "log_level": 0, "linger.ms": 100}
        )
        self.status, self.give_up = Status(deployment.use_case), threading.Event()
        topics = deployment.pipeline.topics
        self.producer.list_topics(topics.scored, timeout=10)
        self.sender = Sender(self.producer, topics, Room(room, room), self.status, self.give_up)


def answer(event_id: str, partition: int) -> Answer:
    return Answer(event_id, 0, 0.5, 0.0, 1, "d" * 64, partition, False)


def test_an_answer_waits_for_a_partition_that_the_topic_gets(deployment: Deployment) -> None:
    """Of events that had more partitions before: a condition says so, and the worker goes on."""
    bench = Bench(deployment)
    bench.sender.answer([answer("a", 0)])
    said: list[str] = []

    def grow(name: str, why: str) -> None:
        said.append(why)
        if len(said) == 1:
            [grown] = deployment.admin.create_partitions(
                [NewPartitions(deployment.scored, 4)]
            ).values()
            grown.result()

    bench.status.fail = grow  # type: ignore[method-assign]
    bench.sender.answer([answer("b", 3)])
    bench.sender.flush()
    assert f"{deployment.scored}[3]" in said[0]
    assert sorted(a["event_id"] for a in deployment.answers()) == ["a", "b"]
    assert bench.sender.nothing_open()


def test_who_is_told_to_stop_no_longer_waits_for_a_partition(deployment: Deployment) -> None:
    bench = Bench(deployment)
    bench.give_up.set()
    with pytest.raises(Stopped):
        bench.sender.answer([answer("a", 3)])


def test_a_record_that_comes_back_is_sent_again(deployment: Deployment) -> None:
    bench = Bench(deployment)
    bench.sender.answer([answer("a", 1)])
    bench.sender.flush()
    [first] = deployment.read(deployment.scored)
    bench.sender.delivered(KafkaError(KafkaError._UNKNOWN_TOPIC), first)
    assert not bench.sender.nothing_open()
    bench.sender.flush()
    assert bench.sender.nothing_open()
    sent = Counter((m.partition(), m.key(), m.value()) for m in deployment.read(deployment.scored))
    assert sent == {(1, b"a", first.value()): 2}


def test_a_record_that_is_refused_for_good_ends_the_wait(deployment: Deployment) -> None:
    bench = Bench(deployment)
    bench.sender.answer([answer("a", 0)])
    bench.sender.flush()
    [first] = deployment.read(deployment.scored)
    bench.sender.delivered(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), first)
    with pytest.raises(Terminal, match="Kafka refused 1 records"):
        bench.sender.flush()


def test_letters_that_fit_keep_their_value_when_their_batch_is_too_large(
    deployment: Deployment,
) -> None:
    """The topic takes less than it did: of one letter all that it takes, alone."""
    limit(deployment, dead_letters=9_000)
    bench = Bench(deployment)
    sizes = [3_000] * 8 + [20_000]
    bench.sender.bury(
        [
            DeadLetter(deployment.events, 0, offset, "a reason", b"v" * size)
            for offset, size in enumerate(sizes)
        ]
    )
    letters: dict[int, Message] = {}
    for letter in deployment.letters():
        letters[int(about(letter)["offset"])] = letter
    found: list[Any] = [len(letters[offset].value() or b"") for offset in range(len(sizes))]
    assert found == [3_000] * 8 + [0]
    assert about(letters[8])["left_out"] == "value"
