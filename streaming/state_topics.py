"""The state topics of a worker: whether they can keep what its windows promise, and offsets.

A window is a promise about events that happened hours ago. A topic that forgets sooner, that
compacts, or whose records carry another clock than the deployment says cannot keep it, and the
worker says so before it is ready instead of being wrong later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from lockstep.errors import Terminal
from lockstep.features.windows import WindowSet
from lockstep.pipeline import Pipeline

__all__ = [
    "Described",
    "Offsets",
    "described",
    "ends",
    "first_timestamps",
    "partitions_of",
    "require_kept_promises",
    "starts",
]

_TIMEOUT_S = 10.0
_HOUR_MS = 3_600_000

Offsets = Mapping[tuple[str, int], int]
"""(topic, partition) -> offset."""


class Described(NamedTuple):
    """What must not change under a reader."""

    id: str
    partitions: int


def described(admin: AdminClient, topics: list[str], kafka: str) -> dict[str, Described]:
    """The topics as they are now. Raises Terminal for one that is missing."""
    found = admin.describe_topics(TopicCollection(topics), request_timeout=_TIMEOUT_S)
    known = {}
    for name, future in found.items():
        try:
            topic = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            raise Terminal(
                f"the state topic {name} does not exist on {kafka}",
                left="nothing was scored",
                next="lockstep up (creates the topics of every pipeline.toml), or create it",
            ) from None
        known[name] = Described(str(topic.topic_id), len(topic.partitions))
    return known


def partitions_of(topics: Mapping[str, Described]) -> list[tuple[str, int]]:
    """Every partition, in order."""
    return sorted((name, n) for name, topic in topics.items() for n in range(topic.partitions))


def require_kept_promises(
    admin: AdminClient, pipeline: Pipeline, windows: WindowSet
) -> dict[str, int | None]:
    """State topic -> how long it keeps records, microseconds; None: for ever.

    Raises Terminal naming a topic that cannot keep a window's promise, and why.
    """
    for source in windows.sources.values():
        if source.clock_skew > pipeline.stream.clock_skew_s * 1_000_000:
            raise Terminal(
                f"the windows over {source.name} allow clocks to be"
                f" {source.clock_skew / 1e6:g} s ahead, but landing refuses what is more than"
                f" stream.clock_skew_s = {pipeline.stream.clock_skew_s:g} s ahead: the lake would"
                " lack events that were scored",
                left="nothing was scored; events wait in Kafka",
                next="set stream.clock_skew_s in pipeline.toml to the sources' clock_skew",
            )
    sources = {pipeline.topic_of(source): source for source in windows.sources}
    resources = [
        ConfigResource(ResourceType.TOPIC, topic) for topic in {*sources, pipeline.topics.events}
    ]
    kept: dict[str, int | None] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=_TIMEOUT_S).items():
        config = {name: entry.value for name, entry in future.result().items()}
        topic, source = resource.name, sources.get(resource.name)
        of = [w for w in windows.windows if source in (None, w.source)]
        window = max(of, key=lambda w: w.over)
        told: dict[str, Any] = {"left": "nothing was scored; events wait in Kafka"}
        expected, found = pipeline.stream.timestamps, config.get("message.timestamp.type")
        if found != expected:
            raise Terminal(
                f"the records of {topic} carry {found}, but pipeline.toml says {expected}:"
                f" window {window.name} could not tell which events were on time",
                next=f"set message.timestamp.type={expected} on {topic}, or correct"
                " stream.timestamps",
                **told,
            )
        if source is None:
            continue
        if "compact" in (config.get("cleanup.policy") or ""):
            raise Terminal(
                f"{topic} is compacted: events that window {window.name} counts may be gone",
                next=f"set cleanup.policy=delete on {topic}",
                **told,
            )
        if int(config.get("retention.bytes") or -1) >= 0:
            raise Terminal(
                f"{topic} deletes records by size (retention.bytes ="
                f" {config['retention.bytes']}): nobody knows how long window {window.name} has"
                " its events",
                next=f"set retention.bytes=-1 on {topic}, and its retention.ms",
                **told,
            )
        keeps, needed = int(config.get("retention.ms") or -1), _needed_ms(pipeline, windows, source)
        if 0 <= keeps < needed:
            raise Terminal(
                f"{topic} keeps records for {keeps / _HOUR_MS:.1f} hours; window {window.name} and"
                f" events that come {pipeline.stream.max_lateness_h:g} hours late need"
                f" {needed / _HOUR_MS:.1f}: {(needed - keeps) / _HOUR_MS:.1f} hours are missing",
                next=f"set retention.ms={needed} or more on {topic}, or lower"
                " stream.max_lateness_h",
                **told,
            )
        kept[topic] = keeps * 1000 if keeps >= 0 else None
    return kept


def _needed_ms(pipeline: Pipeline, windows: WindowSet, source: str) -> int:
    lateness = pipeline.stream.max_lateness_h * _HOUR_MS
    skew = windows.sources[source].clock_skew
    return int(lateness) + -(-(windows.reach(source) + skew) // 1000)


def ends(admin: AdminClient, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset after the last readable record of each partition, in one request."""
    return _listed(admin, partitions, OffsetSpec.latest())


def starts(admin: AdminClient, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset of the oldest record that each partition still holds."""
    return _listed(admin, partitions, OffsetSpec.earliest())


def _listed(
    admin: AdminClient, partitions: list[tuple[str, int]], spec: OffsetSpec
) -> dict[tuple[str, int], int]:
    found = admin.list_offsets(
        {TopicPartition(topic, number): spec for topic, number in partitions},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=_TIMEOUT_S,
    )
    return {(p.topic, p.partition): future.result().offset for p, future in found.items()}


def first_timestamps(kafka: str, offsets: Offsets) -> dict[tuple[str, int], int]:
    """Timestamp (microseconds) of the first record at or after each offset, where there is one."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "lockstep.look",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "queued.min.messages": 1,
            "queued.max.messages.kbytes": 64,
            "fetch.wait.max.ms": 5,
            "log_level": 0,
        }
    )
    found: dict[tuple[str, int], int] = {}
    left = set(offsets)
    try:
        consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        while left:
            message = consumer.poll(_TIMEOUT_S)
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            place = (message.topic(), message.partition())
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if place in left:
                left.remove(place)
                consumer.pause([TopicPartition(*place)])
                if error is None:
                    found[place] = message.timestamp()[1] * 1000
    finally:
        consumer.close()
    return found
