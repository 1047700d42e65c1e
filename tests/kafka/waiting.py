"""Prints the processor time (s) that waiting for a broker takes: ours, and the client's own way.

A program of its own: it is the whole process that is measured, with the client's threads.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, TopicCollection

from lockstep.errors import Unreachable
from lockstep.kafka import reader
from lockstep.kafka.reader import Reader
from tests.kafka.leaving_broker import LeavingBroker

_SECONDS = 1.0
_BUSY = 0.05
"""Who waits in peace takes far less."""


def ours(known: Reader) -> None:
    with contextlib.suppress(Unreachable):
        known.topics(["events"])


def unguarded(known: Reader) -> None:
    asked = known._admin.describe_topics(TopicCollection(["events"]), request_timeout=_SECONDS)
    with contextlib.suppress(KafkaException):
        asked["events"].result()


def waited(wait: Callable[[Reader], Any], times: int) -> float:
    """The most of some times: what the client is at when a question comes is chance."""
    most = 0.0
    for _ in range(times):
        most = max(most, once(wait))
        if most > _BUSY:
            break
    return most


def once(wait: Callable[[Reader], Any]) -> float:
    with LeavingBroker() as broker:
        known = Reader(broker.address)
        assert "events" in known._admin.list_topics(timeout=60).topics
        broker.vanish()
        with contextlib.suppress(KafkaException):
            known._admin.list_topics(timeout=1)  # now it knows that the broker is away
        before = time.process_time()
        wait(known)
        return time.process_time() - before


if __name__ == "__main__":
    reader._TIMEOUT_S = _SECONDS
    print(json.dumps({"ours": waited(ours, 3), "unguarded": waited(unguarded, 20)}))
