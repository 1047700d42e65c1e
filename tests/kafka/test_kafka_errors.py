"""Every error that Kafka's clients know is classed, and as Kafka's protocol has it."""

from __future__ import annotations

import inspect

import kafka.errors
import pytest
from confluent_kafka import KafkaError, KafkaException

from lockstep.kafka.trouble import CODES, kafka_trouble
from lockstep.trouble import Trouble

LIBRDKAFKA = {
    name: code
    for name, code in inspect.getmembers(KafkaError, lambda member: isinstance(member, int))
    if name.strip("_").isupper()
}
BROKER = {
    kind.errno: kind
    for _, kind in inspect.getmembers(kafka.errors, inspect.isclass)
    if getattr(kind, "errno", None) is not None
}
# The protocol marks what the same request may be sent again for. A worker may wait for more: for
# what the client mends by itself (joining its group again, another producer id), and for what
# is the broker's own trouble.
PASSES_ALL_THE_SAME = {
    *(0, -1, 2, 8, 11),
    *(22, 25, 27, 79, 110, 113),
    *(45, 46, 59, 60, 77, 108, 124),
}
LOCAL_PASSING = {
    *("_FAIL", "_TRANSPORT", "_CRIT_SYS_RESOURCE", "_RESOLVE", "_MSG_TIMED_OUT", "_SSL"),
    *("_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_QUEUE_FULL"),
    *("_ISR_INSUFF", "_NODE_UPDATE", "_WAIT_COORD", "_IN_PROGRESS", "_PREV_IN_PROGRESS", "_NOENT"),
    *("_OUTDATED", "_TIMED_OUT_QUEUE", "_WAIT_CACHE", "_INTR", "_PARTIAL", "_RETRY"),
    *("_MAX_POLL_EXCEEDED", "_UNKNOWN_BROKER", "_ASSIGNMENT_LOST", "_DESTROY_BROKER"),
    *("_INVALID_DIFFERENT_RECORD", "_PARTITION_EOF", "_ASSIGN_PARTITIONS", "_REVOKE_PARTITIONS"),
    "_NOOP",
}
LOCAL_OWN = {
    *("_BAD_MSG", "_BAD_COMPRESSION", "_KEY_SERIALIZATION", "_VALUE_SERIALIZATION"),
    *("_KEY_DESERIALIZATION", "_VALUE_DESERIALIZATION"),
}
OWN = {10, 18, 32, 87}


def test_no_error_is_without_a_class():
    known = {*LIBRDKAFKA.values(), *BROKER}
    assert known - set(CODES) == set()


@pytest.mark.parametrize("code", sorted(BROKER))
def test_a_brokers_error_is_what_the_protocol_says(code):
    error = BROKER[code]("said the broker")
    if code in OWN:
        expected = Trouble.OWN
    elif error.retriable or code in PASSES_ALL_THE_SAME:
        expected = Trouble.PASSING
    else:
        expected = Trouble.FINAL
    assert kafka_trouble(error) is expected
    assert kafka_trouble(KafkaError(code)) is expected


@pytest.mark.parametrize("name", sorted(n for n, code in LIBRDKAFKA.items() if code < -1))
def test_an_error_of_the_client(name):
    error = KafkaException(KafkaError(LIBRDKAFKA[name]))
    if name in LOCAL_OWN:
        expected = Trouble.OWN
    else:
        expected = Trouble.PASSING if name in LOCAL_PASSING else Trouble.FINAL
    assert kafka_trouble(error) is expected


def test_a_client_that_cannot_go_on_does_not_wait():
    passes = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "the producer's last", True)
    assert kafka_trouble(passes) is Trouble.PASSING
    assert kafka_trouble(fatal) is Trouble.FINAL


def test_an_error_that_nobody_knows_is_final():
    assert kafka_trouble(KafkaException("no error object")) is Trouble.FINAL
    assert kafka_trouble(KafkaException()) is Trouble.FINAL
    assert kafka_trouble(ValueError("not Kafka's")) is Trouble.FINAL


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (kafka.errors.KafkaConnectionError, Trouble.PASSING),
        (kafka.errors.KafkaTimeoutError, Trouble.PASSING),
        (kafka.errors.NodeNotReadyError, Trouble.PASSING),
        (kafka.errors.MetadataEmptyBrokerList, Trouble.PASSING),
        (kafka.errors.StaleMetadata, Trouble.PASSING),
        (kafka.errors.Cancelled, Trouble.PASSING),
        (kafka.errors.CorrelationIdError, Trouble.PASSING),
        (kafka.errors.TooManyInFlightRequests, Trouble.PASSING),
        (kafka.errors.KafkaConfigurationError, Trouble.FINAL),
        (kafka.errors.IllegalStateError, Trouble.FINAL),
        (kafka.errors.NoOffsetForPartitionError, Trouble.FINAL),
        (kafka.errors.LogTruncationError, Trouble.FINAL),
        (kafka.errors.UnsupportedCodecError, Trouble.FINAL),
    ],
)
def test_kafka_python_s_own_errors(kind, expected):
    assert kafka_trouble(kind("said the client")) is expected
