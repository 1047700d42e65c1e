"""Records as a producer may send them: any bytes, any headers, any compression."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.streaming.deployment import Deployment
from tests.until import until

__all__ = ["MIB", "Nasty", "about", "limit", "noise", "produce"]

MIB = 2**20
_FAR_FUTURE_MS = 7_258_118_400_000
"""The year 2200: no topic takes a record that is more than an hour ahead."""


class Nasty(NamedTuple):
    """A record as a producer may send it."""

    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012 - nobody changes it
    codec: str = "none"
    timestamp: int | None = None
    """Milliseconds; None: as the events'."""


def produce(
    kafka: str, topic: str, records: Iterable[Nasty], timestamp: int = 0
) -> list[tuple[int, int]]:
    """Send each as a batch of its own; (partition, offset) of each."""
    found: list[tuple[int, int]] = []

    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        found.append((message.partition(), message.offset()))

    producers: dict[str, Producer] = {}
    for record in records:
        producer = producers.get(record.codec) or producers.setdefault(
            record.codec,
            Producer(
                {
                    "bootstrap.servers": kafka,
                    "compression.type": record.codec,
                    "message.max.bytes": 1_000_000_000,
                    "on_delivery": delivered,
                    "log_level": 0,
                }
            ),
        )
        producer.produce(
            topic,
            record.value,
            record.key,
            partition=0,
            headers=record.headers,
            timestamp=timestamp if record.timestamp is None else record.timestamp,
        )
        producer.flush()
    return found


def limit(deployment: Deployment, **topics: int) -> None:
    """Let topics take records of at most so many bytes, and wait until the broker does so.

    What it is asked with leaves no record: it is either too large or of the far future.
    """
    asked = [
        ConfigResource(
            ResourceType.TOPIC,
            getattr(deployment, name),
            incremental_configs=[
                ConfigEntry(
                    "max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET
                )
            ],
        )
        for name, size in topics.items()
    ]
    for future in deployment.admin.incremental_alter_configs(asked).values():
        future.result()
    kafka = deployment.settings.kafka
    for name, size in topics.items():
        topic = getattr(deployment, name)
        until(
            lambda topic=topic, size=size: (
                _refusal(kafka, topic, size) == KafkaError.MSG_SIZE_TOO_LARGE
                and _refusal(kafka, topic, size - 500) == KafkaError.INVALID_TIMESTAMP
            ),
            f"{topic} takes {size:,} bytes and not more",
        )


def _refusal(kafka: str, topic: str, size: int) -> int | None:
    """Why a record of the far future with a value of so many bytes is refused."""
    told: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "message.max.bytes": 1_000_000_000,
            "on_delivery": lambda error, _: told.append(error),
            "log_level": 0,
        }
    )
    producer.produce(topic, b"v" * size, partition=0, timestamp=_FAR_FUTURE_MS)
    producer.flush()
    [error] = told
    return error and error.code()


def about(letter: Any) -> dict[str, str]:
    """What a letter's last headers say; a record without any is nobody's letter."""
    return {
        name.removeprefix("lockstep."): value.decode(errors="replace")
        for name, value in letter.headers() or ()
        if name.startswith("lockstep.") and value is not None
    }


def noise(size: int) -> bytes:
    """Bytes that nothing compresses."""
    return random.Random(size).randbytes(size)
