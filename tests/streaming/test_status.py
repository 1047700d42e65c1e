"""A condition holds when nobody waits any more, whoever goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from lockstep.errors import Unreachable
from streaming.patience import Stopped, patiently
from streaming.status import STUCK_AFTER_S, Status


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


def long_ago(status: Status) -> Status:
    """As if nothing had moved in it for long."""
    status.moved_at -= STUCK_AFTER_S + 1
    return status


def test_who_waits_is_not_stuck_however_long_it_takes() -> None:
    status, give_up = Status("flight_delay"), threading.Event()
    seen: list[bool] = []

    def away() -> None:
        seen.append(bool(long_ago(status).stuck))
        if len(seen) == 3:
            give_up.set()
        raise Unreachable("the warehouse is away")

    with pytest.raises(Stopped):
        patiently(away, "warehouse", status, give_up)
    assert seen == [True] * 3, "only an answer, or none, shows that it goes on"
    assert status.stuck is None
    assert not status.ready


def test_what_only_looks_on_does_not_speak_for_who_is_stuck() -> None:
    status = long_ago(Status("flight_delay"))
    for look in (status.hold, lambda name: status.fail(name, "away"), status.hold):
        look("warehouse")
        assert status.stuck


def test_what_has_ended_should_be_started_anew() -> None:
    status = Status("flight_delay")
    assert status.stuck is None
    status.ended = True
    assert status.stuck == status.describe()["stuck"] == "it has ended"
