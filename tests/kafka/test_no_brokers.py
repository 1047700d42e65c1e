"""A client that was told, at last, that there are no brokers finds the one that comes back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import KafkaException

from lockstep.kafka import clients
from tests.kafka.leaving_broker import LeavingBroker

_CLIENTS = 30
"""So many at once that some of a newer library are lost, by which thread hears of what first."""


@pytest.mark.parametrize(
    "make",
    [
        lambda kafka: clients.admin(kafka, "tests"),
        lambda kafka: clients.producer(kafka, "tests"),
        lambda kafka: clients.consumer(kafka, "tests"),
    ],
    ids=["admin", "producer", "consumer"],
)
def test_a_client_finds_the_broker_again(make: Callable[[str], Any]) -> None:
    """From 2.10 on, confluent-kafka can be left with no broker that it would ever ask."""
    with LeavingBroker() as broker, ThreadPoolExecutor(_CLIENTS) as pool:
        made = [make(broker.address) for _ in range(_CLIENTS)]
        assert set(pool.map(brokers, made)) == {1}
        broker.leave()
        list(pool.map(brokers, made))  # none, or no answer any more
        broker.come_back()
        assert set(pool.map(brokers, made)) == {1}


def brokers(client: Any) -> int | str:
    """How many brokers it knows of now, or why it does not know."""
    try:
        return len(client.list_topics("events", timeout=60).brokers)
    except KafkaException as error:
        return str(error.args[0].name())
