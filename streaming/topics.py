"""The topics a worker needs: that they exist, fit each other, and are still the same ones."""

from __future__ import annotations

import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from lockstep.errors import LockstepError, OffsetsLost, Terminal
from lockstep.pipeline import Topics

__all__ = ["TopicWatch", "events_topic_id"]

_TIMEOUT_S = 10
_LOOK_S = 2.0


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


class TopicWatch:
    """Notices that the events topic was recreated under a running worker.

    The client goes on at its old offset in the new log, if that has as many events, and so
    skips those below it. What was scored meanwhile stays; --accept-loss reads the rest.
    `also` looks at what else must stay as it was, and raises Terminal when it did not.
    """

    def __init__(
        self, kafka: str, topics: Topics, known: str, also: Callable[[], None] = lambda: None
    ) -> None:
        self._kafka, self._topics, self._known, self._also = kafka, topics, known, also
        self._stop = threading.Event()
        self.failure: LockstepError | None = None
        threading.Thread(target=self._look, name="topic-watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_S) and self.failure is None:
            try:
                found = events_topic_id(self._kafka, self._topics)
                self._also()
            except KafkaException:
                continue  # away: the consumer notices, and says so
            except Terminal as error:
                self.failure = error
                return
            if found != self._known:
                self.failure = OffsetsLost(
                    f"topic {self._topics.events} was recreated: its id was {self._known},"
                    f" and is {found}",
                    left="what was scored; the new log's first events may be unread",
                    next="lockstep stream USE_CASE --accept-loss"
                    " (reads the new log from its beginning; copies keep their scores)",
                )
