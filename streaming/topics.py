"""The topics a worker needs: that they exist, fit each other, and are still the same ones."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from lockstep.errors import Terminal
from lockstep.pipeline import Topics

__all__ = ["events_topic_id"]

_TIMEOUT_S = 10


def events_topic_id(kafka: str, topics: Topics) -> str:
    """The id that Kafka gave the events topic when it was created; a recreated one has another.

    Raises Terminal when a topic is missing or the scored topic has too few partitions, and
    KafkaException while Kafka does not answer.
    """
    wanted = [topics.events, topics.scored, topics.dead_letters]
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    found = admin.describe_topics(TopicCollection(wanted), request_timeout=_TIMEOUT_S)
    described = {}
    for name, future in found.items():
        try:
            described[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            raise Terminal(
                f"topic {name} does not exist on {kafka}",
                next="lockstep up (creates the topics of every pipeline.toml), or create it",
            ) from None
    events, scored = described[topics.events], described[topics.scored]
    if len(scored.partitions) < len(events.partitions):
        raise Terminal(
            f"topic {topics.scored} has {len(scored.partitions)} partitions, {topics.events}"
            f" has {len(events.partitions)}: answers keep their event's partition",
            next=f"add partitions to {topics.scored}",
        )
    return str(events.topic_id)
