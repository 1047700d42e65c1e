"""What a landing reads of a topic: every record, or that nobody can read it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql.types import StructType

from lockstep.contracts import Limits
from lockstep.landing.log import log_of
from lockstep.landing.source import KafkaLog
from lockstep.landing.tasks import LandingAssignment, land_batches
from lockstep.local.kafka.broker import Kafka
from tests.landing.conftest import contract, event
from tests.streaming.nasty import Nasty, noise, produce

_MAX_BYTES = 1_000


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"land-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name, 1, {"message.timestamp.type": "CreateTime"})
    return name


def read(kafka: str, topic: str) -> list[Any]:
    """All batches, as tasks read them."""
    options = {"kafka": kafka, "topic": topic, "checkpoint": "here", "max_bytes": str(_MAX_BYTES)}
    reader = KafkaLog(options).streamReader(StructType())
    log = log_of(kafka, topic)
    stretches = reader.partitions(log.position(log.first), log.position(log.next))
    return [batch for stretch in stretches for batch in reader.read(stretch)]


def test_records_that_nobody_can_read_are_counted_and_the_others_land(
    kafka: Kafka, topic: str, tmp_path: Path
) -> None:
    good = [json.dumps(event(number)).encode() for number in range(4)]
    stamp = event(0)["at"] // 1000 + 1
    records = [
        Nasty(good[0], codec="lz4"),
        Nasty(b" " * 120_000_000, codec="zstd"),
        Nasty(good[1], codec="zstd"),
        Nasty(b" " * 6_000_000, codec="gzip"),
        Nasty(noise(900_000)),
        Nasty(None),
        Nasty(b"\0\xff\x1b"),
        Nasty(good[2], key=noise(500_000), headers=[("", None)], codec="snappy"),
        Nasty(b"{}", timestamp=-1),
        Nasty(good[3], codec="gzip"),
        Nasty(b" " * 120_000_000, codec="zstd"),
    ]
    produce(kafka.bootstrap, topic, records, stamp)
    batches = read(kafka.bootstrap, topic)
    offsets = [offset for batch in batches for offset in batch.column("offset").to_pylist()]
    assert offsets == list(range(len(records)))
    assert max(len(v or b"") for b in batches for v in b.column("value").to_pylist()) <= _MAX_BYTES

    document = contract("readings")
    assignment = LandingAssignment(str(tmp_path), "an id", document, _MAX_BYTES, Limits())
    outcomes = [row for out in land_batches(assignment, batches) for row in out.to_pylist()]
    assert sum(row["rows"] for row in outcomes if row["day"]) == len(good)
    refused = {row["reason"]: row["rows"] for row in outcomes if not row["day"]}
    assert sum(refused.values()) == len(records) - len(good)
    assert refused["the value has … bytes, more than …"] == 2
    assert sum(rows for why, rows in refused.items() if why.startswith("cannot be read")) == 2
