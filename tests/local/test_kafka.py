"""The local Kafka, really started."""

from __future__ import annotations

from datetime import date

import pytest
from kafka.admin import ConfigResource

from lockstep.errors import UsageError
from lockstep.local.kafka.broker import Kafka
from lockstep.pipeline import Batch, Pipeline, Topics


def test_topics_of_a_pipeline_are_made_once_and_keep_their_partitions(kafka: Kafka) -> None:
    def pipeline(partitions: int) -> Pipeline:
        topics = Topics("t.events", "t.scored", "t.dead_letters", "t.control", partitions)
        state = {"states": "t.states"}
        return Pipeline("t", "t", topics, Batch(date(2013, 1, 1)), state=state)

    names = ["t.events", "t.states", "t.scored", "t.dead_letters", "t.control"]
    assert kafka.create_topics(pipeline(3)) == names
    assert kafka.create_topics(pipeline(3)) == []
    with pytest.raises(UsageError, match=r"t\.events has 3 partitions, pipeline\.toml says 4"):
        kafka.create_topics(pipeline(4))
    with kafka.admin() as admin:
        counts = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(names)}
        resources = [ConfigResource("TOPIC", name) for name in names]
        configs = admin.describe_configs(resources, config_filter="all")["topic"]
    timestamps = [configs[name]["message.timestamp.type"]["value"] for name in names]
    assert timestamps == ["LogAppendTime"] * 2 + ["CreateTime"] * 3
    assert counts == {
        **{"t.events": 3, "t.states": 3},
        **{"t.scored": 3, "t.dead_letters": 1, "t.control": 1},
    }
