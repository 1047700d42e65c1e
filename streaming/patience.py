"""A broken dependency is not a broken event: wait for it, say so, and go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg
from confluent_kafka import KafkaError, KafkaException

from lockstep.errors import Transient, Unreachable
from streaming.status import Status

__all__ = ["patiently", "waits_for"]

T = TypeVar("T")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
}


def waits_for(error: BaseException) -> bool:
    """Whether `error` says that a dependency is away, so that trying again helps."""
    if isinstance(error, KafkaException):
        cause = error.args[0]
        return isinstance(cause, KafkaError) and (cause.retriable() or cause.code() in _PASSING)
    return isinstance(error, Transient | psycopg.OperationalError | psycopg.InterfaceError)


def patiently(
    action: Callable[[], T], dependency: str, status: Status, give_up: threading.Event
) -> T:
    """Call `action` until its dependency answers.

    Raises Unreachable when `give_up` is set before it does, and at once what is not a matter
    of waiting.
    """
    wait = _FIRST_WAIT_S
    while True:
        try:
            result = action()
        except Exception as error:
            if not waits_for(error):
                raise
            why = _first_line(error)
            status.waits.labels(dependency).inc()
            status.fail(dependency, f"waiting: {why}; next: lockstep status")
            if give_up.wait(wait):
                raise Unreachable(
                    f"stopped while waiting for {dependency}: {why}",
                    left="events that were not written stay in Kafka and will be read again",
                    next="lockstep status, then start the worker again",
                ) from error
            wait = min(wait * 2, _LONGEST_WAIT_S)
        else:
            status.hold(dependency)
            return result


def _first_line(error: Exception) -> str:
    cause = error.args[0] if error.args else None
    text = cause.str() if isinstance(cause, KafkaError) else str(error)
    return text.strip().splitlines()[0] if text.strip() else repr(error)
