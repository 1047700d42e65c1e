"""Records that Kafka's client cannot hand over: how far they reach.

The client decompresses a batch whole, up to a limit (100 MB), and a batch that is 3 kB on the
wire can be larger. It then reports an error at each poll, and stays where it is: a reader that
stops, or waits, does so for ever. The batch's end is not told; it is found by asking.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from lockstep.kafka import clients
from lockstep.kafka.reader import told
from lockstep.kafka.trouble import kafka_trouble
from lockstep.trouble import Trouble

__all__ = ["is_unreadable", "unreadable"]

_TIMEOUT_S = 10.0


def is_unreadable(error: KafkaError) -> bool:
    """Whether an error that came instead of a record says so of the record."""
    return kafka_trouble(error) is Trouble.OWN


def unreadable(kafka: str, topic: str, partition: int, offset: int) -> range:
    """The offsets from `offset` on that a batch holds which the client cannot hand over. Empty, and
    where to go on, if it can be read.

    It may begin later: the end of a transaction has an offset, too, and is no record.

    Raises Unreachable when Kafka does not answer, Terminal when it refuses.
    """
    consumer = clients.consumer(
        kafka,
        "lockstep.look",
        {
            "enable.partition.eof": True,
            "queued.min.messages": 1,
            "fetch.wait.max.ms": 5,
            "fetch.error.backoff.ms": 50,
        },
    )

    def batch_here() -> int | None:
        """The first offset of the unreadable batch that comes next; None: it can be read."""
        message = consumer.poll(_TIMEOUT_S)
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return None
        if not is_unreadable(error):
            raise KafkaException(error)
        return int(message.offset())

    def batch_of(at: int) -> int | None:
        clients.read_from(consumer, topic, partition, at)
        return batch_here()

    try:
        _, end = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=_TIMEOUT_S
        )
        consumer.assign([TopicPartition(topic, partition, offset)])
        batch = batch_here()
        if batch is None:
            return range(offset, offset)
        # Ever larger steps until one is outside, then halves: a batch may hold thousands.
        inside, step = offset, 1
        while inside + step < end and batch_of(inside + step) == batch:
            inside += step
            step *= 2
        outside = min(inside + step, end)
        while outside - inside > 1:
            middle = (inside + outside) // 2
            if batch_of(middle) == batch:
                inside = middle
            else:
                outside = middle
        return range(max(offset, batch), outside)
    except KafkaException as error:
        raise told(kafka, error) from None
    finally:
        consumer.close()
