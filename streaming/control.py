"""The control topic: hints, which may come late, twice or never. Scoring goes on without it.

    {"command": "refresh"}      look for a newer approval now, instead of at the next poll

It is read in a thread of its own, which outlives every error: nothing that lies in the topic,
and nothing that its broker does, reaches the worker.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable

from confluent_kafka import OFFSET_END, TopicPartition

from lockstep.errors import printable, reason_of
from lockstep.kafka import clients

__all__ = ["ControlTopic", "is_refresh"]

log = logging.getLogger("lockstep.stream")

_TIMEOUT_S = 10.0
_POLL_S = 0.5
_AGAIN_S = 10.0
_LONGEST = 200


class ControlTopic:
    """Calls `refresh` for each hint to do so, from `start` to `stop`."""

    def __init__(self, kafka: str, topic: str, refresh: Callable[[], None]) -> None:
        self._kafka, self._topic, self._refresh = kafka, topic, refresh
        self._stop = threading.Event()

    def start(self) -> None:
        # A daemon: what it may still wait for ends with the process.
        threading.Thread(target=self._run, name="control", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        said = None
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:
                if (why := reason_of(error)) != said:
                    log.warning("control topic %s: %s; scoring goes on", self._topic, why)
                    said = why
                self._stop.wait(_AGAIN_S)

    def _listen(self) -> None:
        """Read what comes from now on. Raises whatever Kafka's client says."""
        consumer = clients.consumer(
            self._kafka,
            "lockstep.control",
            {
                # Hints are small: nobody fills this process's memory through them.
                "queued.max.messages.kbytes": 64,
                "fetch.message.max.bytes": 65_536,
            },
            start="latest",
        )
        try:
            found = consumer.list_topics(self._topic, timeout=_TIMEOUT_S).topics[self._topic]
            if not found.partitions:
                raise LookupError("it does not exist")
            consumer.assign(
                [TopicPartition(self._topic, number, OFFSET_END) for number in found.partitions]
            )
            while not self._stop.is_set():
                message = consumer.poll(_POLL_S)
                if message is None:
                    continue
                if message.error() is not None:
                    raise LookupError(message.error().str())
                hint = message.value()
                shown = printable((hint or b"")[:_LONGEST].decode(errors="replace"))
                log.info("control: %s", shown)
                if is_refresh(hint):
                    self._refresh()
        finally:
            consumer.close()


def is_refresh(value: bytes | None) -> bool:
    """Whether a record's value is a hint to look for a newer approval."""
    try:
        return bool(json.loads(value or b"null") == {"command": "refresh"})
    except (ValueError, RecursionError):
        return False
