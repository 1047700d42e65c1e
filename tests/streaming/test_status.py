"""A condition holds when nobody waits any more, whoever goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streaming.status import Status


def elsewhere(action: Callable[[], None]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def test_one_thread_that_goes_on_does_not_speak_for_another() -> None:
    status = Status("flight_delay")
    status.hold("kafka")
    release, failed = threading.Event(), threading.Event()

    def waits() -> None:
        status.fail("kafka", "waiting: the scored topic's leader is away")
        failed.set()
        release.wait()
        status.hold("kafka")

    other = threading.Thread(target=waits)
    other.start()
    failed.wait()
    status.hold("kafka")
    assert status.conditions["kafka"] == "waiting: the scored topic's leader is away"
    status.fail("kafka", "waiting: the events topic's leader is away")
    status.hold("kafka")
    assert status.conditions["kafka"] == "waiting: the scored topic's leader is away"
    release.set()
    other.join()
    assert status.conditions["kafka"] is None


def test_the_first_who_finds_it_well_ends_what_nobody_has_tried() -> None:
    status = Status("flight_delay")
    assert status.conditions["warehouse"] == "not connected yet"
    elsewhere(lambda: status.hold("warehouse"))
    assert status.conditions["warehouse"] is None
