"""Reads behind a record that its client cannot decompress, and closes: `KAFKA TOPIC HOW TIMES`.

A program of its own: what goes wrong in the client ends the process.
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, TopicPartition

from lockstep.kafka import clients
from lockstep.kafka.unreadable import is_unreadable


def assign(consumer: Consumer, topic: str, partition: int, offset: int) -> None:
    """The obvious way."""
    consumer.assign([TopicPartition(topic, partition, offset)])


def main(kafka: str, topic: str, how: str, times: str) -> None:
    go_on = {"read_from": clients.read_from, "assign": assign}[how]
    # It decompresses again at once, and so it does while it is told to stop.
    settings = {"fetch.error.backoff.ms": 0}
    for time in range(int(times)):
        consumer = clients.consumer(kafka, "tests.going_on", settings)
        consumer.assign([TopicPartition(topic, 0, 0)])
        unread = consumer.poll(60)
        assert unread is not None
        assert is_unreadable(unread.error())
        go_on(consumer, topic, 0, 1)
        if time % 2:
            following = consumer.poll(60)
            assert following is not None
            assert (following.error(), following.offset()) == (None, 1)
        consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
