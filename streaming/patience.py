"""A broken dependency is not a broken event: wait for it, say so, and go on."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from confluent_kafka import KafkaError, KafkaException

from lockstep.errors import Transient, Unreachable
from lockstep.kafka.trouble import kafka_trouble
from lockstep.trouble import Trouble
from lockstep.warehouse.trouble import postgres_trouble
from streaming.status import Status

__all__ = ["Stopped", "answered", "patiently", "waiting", "waits_for"]

T = TypeVar("T")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_ANSWER_S = 10.0
"""A warehouse that has not answered for so long is hung up on, and counts as away."""


def waits_for(error: BaseException) -> bool:
    """Whether `error` says that a dependency is away, so that trying again helps."""
    if isinstance(error, KafkaException):
        return kafka_trouble(error) is Trouble.PASSING
    if isinstance(error, psycopg.Error):
        return postgres_trouble(error) is Trouble.PASSING
    return isinstance(error, Transient)


@contextmanager
def answered(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Hang up when the warehouse does not answer in time: the call raises OperationalError.

    A server that is frozen keeps its connections: neither a refusal nor TCP's own timeouts come.
    """
    hung_up = threading.Event()

    def hang_up() -> None:
        hung_up.set()
        _hang_up(connection)

    watchdog = threading.Timer(_ANSWER_S, hang_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except psycopg.Error as error:
        if not hung_up.is_set():
            raise
        # Or it would read as if the warehouse had ended it.
        raise psycopg.OperationalError(
            f"the warehouse was busy with one request for more than {_ANSWER_S:.0f} s: hung up on"
        ) from error
    finally:
        watchdog.cancel()


def _hang_up(connection: psycopg.Connection[Any]) -> None:
    with (
        suppress(OSError, psycopg.Error),
        # A copy of the descriptor: closing the original would pull it from under libpq.
        socket.socket(fileno=os.dup(connection.fileno())) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


class Stopped(Unreachable):
    """A worker that was told to stop no longer waits."""

    def __init__(self, doing: str) -> None:
        super().__init__(
            f"stopped while {doing}",
            left="events that were not written stay in Kafka and will be read again",
            next="lockstep status, then start the worker again",
        )


def patiently(
    action: Callable[[], T], dependency: str, status: Status, give_up: threading.Event
) -> T:
    """Call `action` until its dependency answers.

    Raises Stopped when `give_up` is set before it does, and at once what is not a matter of
    waiting.
    """
    wait = _FIRST_WAIT_S
    while True:
        try:
            result = action()
        except Stopped:
            raise
        except Exception as error:
            if not waits_for(error):
                raise
            status.moved()
            status.waits.labels(dependency).inc()
            status.fail(dependency, waiting(error))
            if give_up.wait(wait):
                raise Stopped(f"waiting for {dependency}: {_first_line(error)}") from error
            wait = min(wait * 2, _LONGEST_WAIT_S)
        else:
            status.moved()
            status.hold(dependency)
            return result


def waiting(error: Exception) -> str:
    """What a condition says while this error is waited out."""
    return f"waiting: {_first_line(error)}; next: lockstep status"


def _first_line(error: Exception) -> str:
    cause = error.args[0] if error.args else None
    text = cause.str() if isinstance(cause, KafkaError) else str(error)
    return text.strip().splitlines()[0] if text.strip() else repr(error)
