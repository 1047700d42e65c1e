"""The topics of a use case, on the local broker or on a cluster.

    python -m lockstep.kafka.topics USE_CASE [REPLICATION]

creates those that are missing on LOCKSTEP_KAFKA.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kafka.errors import KafkaError, for_code

from lockstep.errors import Terminal, Unreachable, UsageError
from lockstep.exits import ended
from lockstep.kafka.clients import topic_admin
from lockstep.kafka.trouble import kafka_trouble
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.trouble import Trouble

__all__ = ["DeclaredTopic", "create_topics", "topics_of"]

_MIB = 2**20


@dataclass(frozen=True)
class DeclaredTopic:
    """A topic as it is asked for; `reader.Topic` is one as it is found."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


def topics_of(pipeline: Pipeline) -> list[DeclaredTopic]:
    """What pipeline.toml asks for."""
    topics = pipeline.topics
    events = {
        # Room for an oversized event, so that it is the worker who refuses it, with a reason.
        "max.message.bytes": str(2 * _MIB),
        # When a record became readable decides what windows count: nobody leaves it to a default.
        "message.timestamp.type": pipeline.stream.timestamps,
    }
    return [
        DeclaredTopic(topics.events, topics.partitions, events),
        *(
            DeclaredTopic(name, topics.partitions, events)
            for name in sorted(set(pipeline.state.values()))
        ),
        DeclaredTopic(topics.scored, topics.partitions),
        # An event with the reasons against it is bigger than the event.
        DeclaredTopic(topics.dead_letters, 1, {"max.message.bytes": str(4 * _MIB)}),
        DeclaredTopic(topics.control),
    ]


def create_topics(
    bootstrap: str, topics: Sequence[DeclaredTopic], replication: int = 1
) -> list[str]:
    """Create what is missing and wait until it can be used; returns the names of the new ones.

    Raises UsageError when one exists with another number of partitions (keys would move), and
    Unreachable when no broker answers.
    """
    try:
        with topic_admin(bootstrap) as client:
            existing = {topic["name"]: topic for topic in client.describe_topics()}
            for topic in topics:
                found = existing.get(topic.name)
                # While a leader is away a topic may be described without its partitions.
                if found is not None and found["error_code"]:
                    raise for_code(found["error_code"])(topic.name)
                count = len(found["partitions"]) if found else topic.partitions
                if count != topic.partitions:
                    raise UsageError(
                        f"topic {topic.name} has {count} partitions, pipeline.toml says "
                        f"{topic.partitions}",
                        left="the topic, as it was",
                        next="correct pipeline.toml, or name a new topic in it",
                    )
            new = {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": replication,
                    "configs": dict(topic.config),
                }
                for topic in topics
                if topic.name not in existing
            }
            if new:
                client.create_topics(new, wait_for_metadata=True)
            return list(new)
    except KafkaError as error:
        passing = kafka_trouble(error) is Trouble.PASSING
        raise (Unreachable if passing else Terminal)(
            f"Kafka at {bootstrap}: {type(error).__name__}: {error}",
            left="the topics that there are",
            next="lockstep status, or correct LOCKSTEP_KAFKA",
        ) from None


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lockstep.kafka.topics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("use_case", metavar="USE_CASE")
    parser.add_argument("replication", metavar="REPLICATION", type=int, nargs="?", default=1)
    given = parser.parse_args()
    topics = topics_of(Pipeline.load(given.use_case))
    new = create_topics(Settings.load().kafka, topics, given.replication)
    sys.stdout.write(f"{given.use_case}: {len(new)} new topics\n")


if __name__ == "__main__":
    sys.exit(ended(_main))
