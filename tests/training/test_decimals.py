"""What a scale leaves of values: nothing is rounded that nobody is told of."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.lake import write_partition
from lockstep.training.decimals import Decimals, decimals, recorded_decimals
from lockstep.training.definition import Period
from lockstep.windows.declaration import Source, Window, bind
from tests.windows.window_cases import SCORED, STATE, event_columns

CAME = Source(STATE.source, delay="1min", clock_skew="5s")
CONTRACTS = {each.source: each for each in (SCORED, STATE)}


def looked_at(*windows: Window, gains: list[float | None]) -> Decimals:
    found = Decimals(bind(windows, SCORED, CONTRACTS.__getitem__))
    events = [
        {"event_id": str(n), "at": n, "place": "JFK", "line": "AA", "number": 1}
        | {"gain": gain, "other": 0.0, "whole": 3}
        for n, gain in enumerate(gains)
    ]
    found.look(STATE.source, event_columns(STATE, events))
    return found


def window(name: str, agg: str = "last", value: str | None = "gain", scale: int = 0) -> Window:
    return Window(name, CAME, "place", agg, "1h", "5min", value, scale)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([3.0, -17.0, 0.0, -0.0], 0),
        ([14.49, 3.0], 2),
        ([0.1, 0.2, 0.1 + 0.2], 1),
        ([np.float32(14.49)], 2),
        ([1e-9], 9),
        ([1e-8 / 3], None),
        ([np.nan, 2.5], 1),
    ],
)
def test_the_scale_that_values_need(values: list[float], expected: int | None) -> None:
    assert decimals(np.array(values, np.float64)) == expected


@given(st.integers(-(10**6), 10**6), st.integers(0, 6))
def test_a_decimal_is_kept_by_its_own_scale(number: int, scale: int) -> None:
    found = decimals(np.array([number / 10**scale]))
    assert found is not None
    assert found <= scale


def test_rounded_values_are_counted_and_said() -> None:
    found = looked_at(
        window("spent"), window("spent_most", "max"), gains=[14.49, None, 3.0, 2.5, 7.125]
    )
    (rounded,) = found.rounded()
    assert (rounded.source, rounded.field, rounded.scale) == (STATE.source, "gain", 0)
    assert (rounded.values, rounded.rounded, rounded.needed) == (4, 3, 3)
    assert rounded.windows == ("spent", "spent_most")
    assert "3 of 4 values of gain" in str(rounded)
    assert "14.49 counts as 14" in str(rounded)
    assert "scale=3 keeps them" in str(rounded)


def test_what_is_kept_or_not_aggregated_is_not_told() -> None:
    assert not list(looked_at(window("w", scale=2), gains=[14.49, 3.0]).rounded())
    assert not list(looked_at(window("w", "count"), gains=[14.49]).rounded())
    assert not list(looked_at(window("w", value="whole"), gains=[14.49]).rounded())


def test_each_scale_of_a_field_is_told_apart() -> None:
    found = looked_at(window("coarse"), window("fine", scale=1), gains=[14.49, 1e-8 / 3])
    assert {(r.scale, r.windows, r.rounded) for r in found.rounded()} == {
        (0, ("coarse",), 2),
        (1, ("fine",), 2),
    }
    assert all("no scale up to 9 keeps them all" in str(r) for r in found.rounded())


def test_a_day_on_which_nothing_happened_needs_no_decimals(tmp_path) -> None:
    first = date(2013, 7, 1)
    for number, values in enumerate(([14.49], [], [2.5])):
        at = datetime(2013, 7, 1 + number, 12, tzinfo=UTC)
        rows = [
            {"event_id": "x", "at": at, "place": "JFK", "line": "AA", "number": 1}
            | {"gain": value, "other": 0.0, "whole": 3}
            for value in values
        ]
        day = first + timedelta(days=number)
        made = pa.Table.from_pylist(rows, schema=STATE.arrow_schema)
        write_partition(str(tmp_path), STATE.source, day, "a", made)
    period = Period(first, first + timedelta(days=3))
    assert recorded_decimals(str(tmp_path), period, STATE, "gain") == 2
