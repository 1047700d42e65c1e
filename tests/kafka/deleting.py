"""Records deleted from the beginning of a log, as retention does."""

from __future__ import annotations

from collections.abc import Mapping

from kafka import TopicPartition

from lockstep.kafka.clients import topic_admin
from lockstep.kafka.reader import Place

__all__ = ["delete_records"]


def delete_records(kafka: str, before: Mapping[Place, int]) -> None:
    """Delete what each partition has before an offset.

    Not by confluent-kafka's client: after its delete_records a later list_topics can take the
    whole process along (its issue 2275).
    """
    with topic_admin(kafka) as admin:
        admin.delete_records({TopicPartition(*place): offset for place, offset in before.items()})
