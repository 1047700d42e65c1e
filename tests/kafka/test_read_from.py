"""A consumer goes on elsewhere in a partition, whatever it is doing there."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid

import pytest
from confluent_kafka import TopicPartition

from lockstep.kafka import clients
from lockstep.kafka.trouble import LOG_MOVED
from lockstep.local.kafka.broker import Kafka
from tests.small_model import REPOSITORY
from tests.streaming.nasty import Nasty, produce


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A record that is 4 kB on the wire and too large for the client, and one that is not."""
    name = f"going-on-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name, 1)
    produce(kafka.bootstrap, name, [Nasty(b" " * 120_000_000, codec="zstd"), Nasty(b"{}")])
    return name


@pytest.mark.parametrize(
    ("how", "times", "ends"),
    [
        pytest.param("read_from", 20, 0, id="ours"),
        # It takes a few. If none aborts, the client is mended and `read_from` can go.
        pytest.param("assign", 200, -signal.SIGABRT, id="control: assigned anew"),
    ],
)
def test_closing_while_a_batch_is_decompressed(
    kafka: Kafka, topic: str, how: str, times: int, ends: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.kafka.going_on",
        kafka.bootstrap,
        topic,
        how,
        str(times),
    ]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == ends, ended.stderr
    assert ("rktp_started" in ended.stderr) == bool(ends)


def test_a_partition_that_the_client_has_given_up(kafka: Kafka, topic: str) -> None:
    consumer = clients.consumer(kafka.bootstrap, "tests.going_on")
    try:
        consumer.assign([TopicPartition(topic, 0, 1_000)])
        gone = consumer.poll(60)
        assert gone is not None
        assert gone.error().code() in LOG_MOVED
        clients.read_from(consumer, topic, 0, 1)
        found = consumer.poll(60)
        assert found is not None
        assert (found.error(), found.offset(), found.value()) == (None, 1, b"{}")
    finally:
        consumer.close()
