"""Every client of Kafka is made here: what all of them have in common has one place.

Nothing is imported before a client is asked for: confluent-kafka comes with the extras `stream`
and `batch`, kafka-python with `local`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient

__all__ = ["admin", "consumer", "producer", "read_from", "topic_admin"]

_BOOTSTRAP_MS = 5_000
_REQUEST_MS = 10_000


def consumer(
    kafka: str,
    group: str,
    settings: Mapping[str, Any] | None = None,
    *,
    start: Literal["error", "earliest", "latest"] = "error",
) -> Consumer:
    """A consumer. It commits nothing: where it goes on is kept elsewhere, or nowhere.

    `group` is joined by who subscribes; for who assigns it is just a name. `start` says what an
    offset that the log does not hold means. `settings` are librdkafka's, and win.
    """
    from confluent_kafka import Consumer

    return Consumer(
        {
            **_common(kafka, group),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": start,
            **(settings or {}),
        }
    )


def read_from(consumer: Consumer, topic: str, partition: int, offset: int) -> None:
    """Go on at `offset` of an assigned partition, also of one that the client has given up.

    Assigning it again would do, but for this: up to 2.11 librdkafka aborts the process when the
    consumer is closed while the first reading still stops, and decompressing can take it seconds.
    """
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    place = TopicPartition(topic, partition, offset)
    try:
        consumer.seek(place)
    except KafkaException as error:
        if error.args[0].code() != KafkaError._STATE:
            raise
        # It is not being read, so nothing has to stop.
        consumer.incremental_unassign([place])
        consumer.incremental_assign([place])


def producer(kafka: str, name: str, settings: Mapping[str, Any] | None = None) -> Producer:
    """A producer. `settings` are librdkafka's, and win."""
    from confluent_kafka import Producer

    return Producer({**_common(kafka, name), **(settings or {})})


def admin(kafka: str, name: str) -> AdminClient:
    """An admin client, for questions. What asks should do so through `lockstep.kafka.reader`."""
    from confluent_kafka.admin import AdminClient

    return AdminClient(_common(kafka, name))


def topic_admin(kafka: str) -> Any:
    """A kafka-python admin client, for topics; close it, or use it in a `with`."""
    from kafka import KafkaAdminClient

    # It logs every attempt to connect as an error; what matters is raised as well.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    return KafkaAdminClient(
        bootstrap_servers=kafka,
        bootstrap_timeout_ms=_BOOTSTRAP_MS,
        request_timeout_ms=_REQUEST_MS,
        client_id="lockstep.topics",
    )


def _common(kafka: str, name: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": kafka,
        # What a broker's logs and quotas know it by.
        "client.id": name,
        # A broker that hangs, or a connection of which only our end is left, is given up after
        # this: a minute by default, in which nobody could say what is wrong.
        "socket.timeout.ms": 10_000,
        "socket.keepalive.enable": True,
        # A broker that is back is found soon.
        "reconnect.backoff.max.ms": 1_000,
        # What matters is raised, or told to a callback.
        "log_level": 0,
    }
