"""Every client comes out of one factory, so that one place says how Kafka is reached."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.small_model import REPOSITORY

_CLIENTS = {"AdminClient", "Consumer", "DeserializingConsumer", "KafkaAdminClient"} | {
    *("KafkaConsumer", "KafkaProducer", "Producer", "SerializingProducer")
}
_FACTORY = "lockstep/kafka/clients.py"
_USERS = {"demo/flights.py"}
"""Who stands for somebody else's program: it makes the client that they would."""


def made(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            if name in _CLIENTS:
                yield f"{node.lineno}: {name}"


@pytest.mark.parametrize("room", ["benchmarks", "dags", "demo", "jobs", "lockstep", "streaming"])
def test_nobody_else_makes_one(room: str) -> None:
    found = {
        str(path.relative_to(REPOSITORY)): list(made(path.read_text(encoding="utf-8")))
        for path in (REPOSITORY / room).rglob("*.py")
    }
    assert found
    elsewhere = {path: calls for path, calls in found.items() if calls and path not in _USERS}
    assert elsewhere.keys() <= {_FACTORY}, "next: make it through lockstep.kafka.clients"


def test_it_is_noticed() -> None:
    assert list(made("a = 1\nb = kafka.Consumer({})\nc = Producer()\n")) == [
        *("2: Consumer", "3: Producer"),
    ]
