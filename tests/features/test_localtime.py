"""Local time as constants of a graph, against the time zone database itself."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockstep.features import Zone, local_time

ZONES = ["America/New_York", "America/Phoenix", "Pacific/Honolulu", "Asia/Kolkata", "UTC"]
MICROS = 1_000_000


def wall_clock(micros: int, zone: str) -> int:
    """The oracle."""
    seconds, rest = divmod(micros, MICROS)
    local = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone))
    return int(local.replace(tzinfo=UTC).timestamp()) * MICROS + rest


@pytest.mark.parametrize("name", ZONES)
def test_any_time_of_a_century(name):
    zone = Zone.load(name)

    @given(st.integers(946_684_800 * MICROS, 4_102_444_799 * MICROS))
    @example(1_362_898_799_999_999)  # the last microsecond before New York's summer of 2013
    @example(1_362_898_800_000_000)
    @example(1_383_458_399_999_999)  # and of that summer
    @example(1_383_458_400_000_000)
    def same(micros):
        assert local_time(np.array([micros]), zone)[0] == wall_clock(micros, name)

    same()


def test_every_change_to_the_microsecond():
    zone = Zone.load("America/New_York")
    changes = zone.change[zone.before != zone.after]
    assert len(changes) == 2 * 101
    around = np.concatenate([changes - 1, changes, changes + 1])
    expected = [wall_clock(int(micros), "America/New_York") for micros in around]
    assert local_time(around, zone).tolist() == expected


def test_outside_of_the_table_the_nearest_offset_counts():
    zone = Zone.load("America/New_York")
    early, late = -(10**15), 10**16
    assert local_time(np.array([early]), zone)[0] - early == zone.before[0]
    assert local_time(np.array([late]), zone)[0] - late == zone.after[-1]
