"""What Kafka says of topics, from a real broker; and its ways of saying that it does not know."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from lockstep.errors import Terminal, Unreachable
from lockstep.kafka import clients
from lockstep.kafka.reader import Reader, told
from lockstep.local.home import free_port
from lockstep.local.kafka.broker import Kafka
from tests.kafka.deleting import delete_records


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """Two partitions; the first one has records of the seconds 1 to 5."""
    name = f"t{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name, 2, {"message.timestamp.type": "CreateTime"})
    producer = clients.producer(kafka.bootstrap, "tests")
    for second in range(1, 6):
        producer.produce(name, b"record", partition=0, timestamp=second * 1000)
    producer.flush()
    return name


def test_what_a_topic_is_and_holds(kafka: Kafka, topic: str) -> None:
    reader = Reader(kafka.bootstrap)
    described = reader.topics([topic])[topic]
    assert described.partitions == 2
    assert len(described.id) == 22
    assert reader.bounds([(topic, 0), (topic, 1)]) == {(topic, 0): (0, 5), (topic, 1): (0, 0)}
    assert reader.since({(topic, 0): 3_000, (topic, 1): 0}) == {(topic, 0): 2, (topic, 1): None}
    assert reader.timestamps({(topic, 0): 3, (topic, 1): 0}) == {(topic, 0): 4_000}
    assert reader.configs([topic])[topic]["message.timestamp.type"] == "CreateTime"


def test_a_log_that_begins_later(kafka: Kafka, topic: str) -> None:
    delete_records(kafka.bootstrap, {(topic, 0): 3})
    assert Reader(kafka.bootstrap).bounds([(topic, 0)]) == {(topic, 0): (3, 5)}


def test_a_missing_topic_is_named(kafka: Kafka, topic: str) -> None:
    reader, missing = Reader(kafka.bootstrap), f"{topic}.not"
    for ask in (
        lambda: reader.topics([topic, missing]),
        lambda: reader.ends([(missing, 0)]),
        lambda: reader.configs([missing]),
    ):
        with pytest.raises(Terminal, match=f"topic {missing} does not exist") as gone:
            ask()
        assert gone.value.next


def test_a_broker_that_is_away() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"Kafka at {address} does not answer"):
        Reader(address).topics(["any"])


def test_what_does_not_pass_is_told_as_that() -> None:
    refused = told("host:9092", KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    assert type(refused) is Terminal
    assert "host:9092 refuses" in str(refused)
    passing = told("host:9092", KafkaException(KafkaError(KafkaError._NOENT, "no leaders")))
    assert type(passing) is Unreachable
    assert "no leaders" in str(passing)


LED = SimpleNamespace(id=1)
KNOWN = SimpleNamespace(
    topic_id="QFWgwNg9T4eXnzUvYXQfLw", partitions=[SimpleNamespace(id=0, leader=LED)]
)


class Vague:
    """A client that answers as confluent-kafka does while a broker is not yet ready."""

    def __init__(self, described: Any = KNOWN, offset: int = 0, listed: bool = True) -> None:
        self._described, self._offset, self._listed = described, offset, listed

    def describe_topics(self, wanted: Any, **_: Any) -> dict[str, Any]:
        return {"t": done(self._described)}

    def list_offsets(self, wanted: Any, **_: Any) -> dict[Any, Any]:
        found = {place: done(SimpleNamespace(offset=self._offset)) for place in wanted}
        return found if self._listed else {}

    def describe_configs(self, wanted: Any, **_: Any) -> dict[Any, Any]:
        return {resource: done({}) for resource in wanted}


def done(answer: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(answer)
    return future


def described(**other: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(KNOWN), **other})


def without_leader(leader: Any) -> SimpleNamespace:
    return described(partitions=[SimpleNamespace(id=0, leader=leader)])


UNKNOWN: dict[str, tuple[Vague, Callable[[Reader], Any]]] = {
    "offset -1001": (Vague(offset=-1001), lambda r: r.ends([("t", 0)])),
    "offset -1": (Vague(offset=-1), lambda r: r.bounds([("t", 0)])),
    "offset -1001 by time": (Vague(offset=-1001), lambda r: r.since({("t", 0): 0})),
    "a partition without answer": (Vague(listed=False), lambda r: r.ends([("t", 0)])),
    "the zero id": (Vague(described(topic_id="A" * 22)), lambda r: r.topics(["t"])),
    "no partitions": (Vague(described(partitions=[])), lambda r: r.topics(["t"])),
    "some partitions": (
        Vague(described(partitions=[SimpleNamespace(id=1, leader=LED)])),
        lambda r: r.topics(["t"]),
    ),
    "no leader": (Vague(without_leader(None)), lambda r: r.topics(["t"])),
    "leader -1": (Vague(without_leader(SimpleNamespace(id=-1))), lambda r: r.topics(["t"])),
    "no configuration": (Vague(), lambda r: r.configs(["t"])),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_value_is_no_answer(name: str) -> None:
    client, ask = UNKNOWN[name]
    reader = Reader("127.0.0.1:9")
    reader._admin = client
    with pytest.raises(Unreachable):
        ask(reader)


def test_the_same_client_when_it_knows() -> None:
    reader = Reader("127.0.0.1:9")
    reader._admin = Vague(offset=7)
    assert reader.topics(["t"]) == {"t": (KNOWN.topic_id, 1)}
    assert reader.bounds([("t", 0)]) == {("t", 0): (7, 7)}


def test_an_end_before_the_beginning_is_no_answer() -> None:
    offsets = iter([5, 3])

    class Contradicting(Vague):
        def list_offsets(self, wanted: Any, **_: Any) -> dict[Any, Any]:
            offset = next(offsets)
            return {place: done(SimpleNamespace(offset=offset)) for place in wanted}

    reader = Reader("127.0.0.1:9")
    reader._admin = Contradicting()
    with pytest.raises(Unreachable, match=r"t\[0\] yet: it answered first 5, end 3"):
        reader.bounds([("t", 0)])
