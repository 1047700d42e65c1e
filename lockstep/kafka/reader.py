"""What Kafka says of topics, every answer checked. The one place that asks.

A client library answers "unknown" with a value of the same type: offset -1001, the zero id, no
partitions. While a broker starts or a leader is away such answers are common, and taken for
true they say that a log was truncated or recreated. Here they raise Unreachable: ask again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from lockstep.errors import LockstepError, Terminal, Unreachable
from lockstep.kafka import clients
from lockstep.kafka.trouble import MAYBE_NO_TOPIC, kafka_trouble
from lockstep.trouble import Trouble

__all__ = ["Bounds", "Place", "Reader", "Topic", "recorded_at", "told"]

T = TypeVar("T")

_TIMEOUT_S = 10.0
_CONFIRM_S = 1.0
"""A topic that a broker does not know is asked for once more: the news may be on its way."""
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""Kafka's id of a topic whose id is not known."""

Place = tuple[str, int]
"""Topic and partition."""


class Topic(NamedTuple):
    """What must not change under a reader."""

    id: str
    """Kafka's own: a topic that is deleted and created again has another."""
    partitions: int


class Bounds(NamedTuple):
    """What a partition holds: from `first` on, up to and without `end`.

    `end` leaves out what an open transaction holds back.
    """

    first: int
    end: int


class Reader:
    """Raises Unreachable for what passes, Terminal for a topic that is missing or a refusal."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._admin = clients.admin(kafka, "lockstep.look")

    def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """The topics as they are now. Raises Terminal naming one that is missing."""
        wanted = list(names)
        try:
            return self._described(wanted)
        except Terminal:
            time.sleep(_CONFIRM_S)
            return self._described(wanted)

    def _described(self, names: list[str]) -> dict[str, Topic]:
        asked = self._asked(
            lambda: self._admin.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT_S)
        )
        found = {}
        for name, future in asked.items():
            try:
                described = future.result()
            except KafkaException as error:
                if error.args[0].code() not in MAYBE_NO_TOPIC:
                    raise told(self._kafka, error) from None
                raise Terminal(
                    f"topic {name} does not exist on {self._kafka}",
                    left="nothing was read or written",
                    next="lockstep up (creates the topics of every pipeline.toml), or create it",
                ) from None
            numbers = sorted(partition.id for partition in described.partitions)
            for partition in described.partitions:
                if partition.leader is None or partition.leader.id < 0:
                    raise Unreachable(
                        f"{name}[{partition.id}] has no leader: its broker is away",
                        next="lockstep status; then try again",
                    )
            id = str(described.topic_id)
            if id == _NO_ID or not numbers or numbers != list(range(len(numbers))):
                raise self._unknown(f"topic {name}", f"id {id}, partitions {numbers}")
            found[name] = Topic(id, len(numbers))
        return found

    def bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        """What each partition holds."""
        wanted = list(places)
        firsts = self._listed(dict.fromkeys(wanted, OffsetSpec.earliest()))
        # In this order: a log that is cut at its beginning meanwhile does not end before it.
        ends = self.ends(wanted)
        for place in wanted:
            if ends[place] < firsts[place]:
                raise self._unknown(_named(place), f"first {firsts[place]}, end {ends[place]}")
        return {place: Bounds(firsts[place], ends[place]) for place in wanted}

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The offset after the last readable record of each partition, in one request."""
        return self._listed(dict.fromkeys(places, OffsetSpec.latest()))

    def since(self, moments: Mapping[Place, int]) -> dict[Place, int | None]:
        """The first offset with a timestamp (ms) at or after each moment; None: there is none."""
        asked = {place: OffsetSpec.for_timestamp(ms) for place, ms in moments.items()}
        found = self._listed(asked, none=-1)
        return {place: offset if offset >= 0 else None for place, offset in found.items()}

    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str | None]]:
        """The configuration of each topic."""
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        asked = self._asked(
            lambda: self._admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
        )
        found = {}
        for resource, future in asked.items():
            entries = self._asked(future.result, missing=resource.name)
            if not entries:
                raise self._unknown(f"the configuration of {resource.name}", "nothing")
            found[resource.name] = {name: entry.value for name, entry in entries.items()}
        return found

    def timestamps(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        """Timestamp (ms) of the first record at or after each offset; absent where none has one."""
        consumer = clients.consumer(
            self._kafka,
            "lockstep.look",
            {
                "enable.partition.eof": True,
                "queued.min.messages": 1,
                "queued.max.messages.kbytes": 64,
                "fetch.wait.max.ms": 5,
            },
            start="earliest",
        )
        found: dict[Place, int] = {}
        left = set(offsets)
        try:
            consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
            while left:
                message = consumer.poll(_TIMEOUT_S)
                if message is None:
                    raise self._unknown(", ".join(map(_named, sorted(left))), "nothing")
                error = message.error()
                # A record that cannot be read has no timestamp that anybody could read.
                if (
                    error is not None
                    and error.code() != KafkaError._PARTITION_EOF
                    and kafka_trouble(error) is not Trouble.OWN
                ):
                    raise told(self._kafka, KafkaException(error))
                place = (message.topic(), message.partition())
                if place in left:
                    left.remove(place)
                    consumer.pause([TopicPartition(*place)])
                    if error is None and (ms := recorded_at(message)) is not None:
                        found[place] = ms
        finally:
            consumer.close()
        return found

    def _listed(self, wanted: Mapping[Place, Any], none: int = 0) -> dict[Place, int]:
        """Offsets; `none` is the smallest one that is an answer."""
        if not wanted:
            return {}
        asked = self._asked(
            lambda: self._admin.list_offsets(
                {TopicPartition(*place): spec for place, spec in wanted.items()},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_TIMEOUT_S,
            )
        )
        found: dict[Place, int] = {}
        for partition, future in asked.items():
            place = partition.topic, partition.partition
            offset = self._asked(future.result, missing=partition.topic).offset
            if offset < none:
                raise self._unknown(_named(place), f"offset {offset}")
            found[place] = int(offset)
        if missing := wanted.keys() - found.keys():
            raise self._unknown(", ".join(map(_named, sorted(missing))), "nothing")
        return found

    def _asked(self, question: Callable[[], T], missing: str | None = None) -> T:
        """Ask, with Kafka's errors as ours. `missing`: the topic that the question is about."""
        try:
            return question()
        except KafkaException as error:
            if missing is not None and error.args[0].code() in MAYBE_NO_TOPIC:
                self.topics([missing])  # which says so if there is none
            raise told(self._kafka, error) from None

    def _unknown(self, what: str, answer: str) -> Unreachable:
        return Unreachable(
            f"Kafka at {self._kafka} does not know {what} yet: it answered {answer}",
            next="lockstep status; then try again",
        )


def recorded_at(message: Message) -> int | None:
    """A record's timestamp in ms; None for one that has none."""
    kind, ms = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE or ms < 0 else int(ms)


def told(kafka: str, error: KafkaException) -> LockstepError:
    """An error of the client as ours: Unreachable when it passes, otherwise Terminal."""
    cause = error.args[0] if error.args else error
    text = cause.str() if hasattr(cause, "str") else str(cause)
    if kafka_trouble(error) is Trouble.PASSING:
        return Unreachable(
            f"Kafka at {kafka} does not answer: {text}",
            left="what was read and written before",
            next="lockstep status (lockstep up starts the local one)",
        )
    return Terminal(
        f"Kafka at {kafka} refuses: {text}",
        left="what was read and written before",
        next="correct what it names (a right, a limit or setting of the broker, LOCKSTEP_KAFKA)",
    )


def _named(place: Place) -> str:
    return f"{place[0]}[{place[1]}]"
