"""The reference on examples that can be checked by hand: flights with delays, at one airport."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lockstep.errors import ContractError
from lockstep.windows.declaration import Source, Window, bind
from lockstep.windows.reference import Record, counted, window_values
from lockstep.windows.semantics import WindowSet, rounded
from tests.windows.window_cases import SCORED, STATE, contract

MINUTE = 60_000_000
NOON = 1_372_680_000_000_000


def windows(agg: str, value: str | None = "gain", **other: Any) -> WindowSet:
    """One window of 30 minutes in steps of 5, with a delay of 1 minute; one decimal counts."""
    source = Source(STATE.source, delay="1min", clock_skew="5s")
    declared: dict[str, Any] = {"by": "place", "over": "30min", "hop": "5min", "scale": 1, **other}
    window = Window("w", source, agg=agg, value=value, **declared)  # type: ignore[arg-type]
    return bind([window], SCORED, {STATE.source: STATE}.__getitem__)


def event(minute: float, gain: float | None = 1.0, id: str = "", **other: Any) -> dict[str, Any]:
    """An event so many minutes after noon."""
    at = NOON + int(minute * MINUTE)
    made = {"event_id": id or f"at {minute}", "at": at, "place": "JFK", "line": "AA", "number": 0}
    return {**made, "gain": gain, "other": None, "whole": 0, **other}


def record(offset: int, event: dict[str, Any], *, after: int = 0, partition: int = 0) -> Record:
    """It became readable `after` microseconds after it happened."""
    return Record(event, event["at"] + after, partition, offset)


def value(declared: WindowSet, records: list[Record], minute: float = 41.0, **other: Any) -> float:
    """The window of an event at 12:41 (or `minute`), whose window ends at 12:40."""
    scored = event(minute, **other)
    (found,) = window_values(declared, {STATE.source: records}, scored["at"], scored)
    assert found.dtype == np.float32
    return float(found)


GAINS = [record(n, event(15 + n, gain)) for n, gain in enumerate([2.5, None, -1.0, 4.0])]


@pytest.mark.parametrize(
    ("agg", "expected"),
    [("count", 3), ("sum", 5.5), ("mean", 5.5 / 3), ("min", -1.0), ("max", 4.0), ("last", 4.0)],
)
def test_each_aggregate_leaves_nulls_out(agg: str, expected: float) -> None:
    assert value(windows(agg), GAINS) == np.float32(expected)


def test_counting_events_counts_those_without_a_value() -> None:
    assert value(windows("count", None), GAINS) == 4


@pytest.mark.parametrize("agg", ["sum", "mean", "min", "max", "last"])
def test_nothing_is_not_zero(agg: str) -> None:
    assert math.isnan(value(windows(agg), []))
    assert value(windows("count"), []) == 0


@pytest.mark.parametrize(
    ("happened", "inside"),
    [(10, True), (10 - 1 / MINUTE, False), (40 - 1 / MINUTE, True), (40, False)],
)
def test_the_window_ends_before_its_as_of_time(happened: float, inside: bool) -> None:
    """At 12:41 the as-of time is 12:40, one minute of delay earlier: [12:10, 12:40)."""
    assert value(windows("count"), [record(0, event(happened))]) == inside


@pytest.mark.parametrize(("minute", "expected"), [(41 - 1 / MINUTE, 0), (41, 1), (45.9, 1)])
def test_the_as_of_time_moves_by_hops(minute: float, expected: int) -> None:
    assert value(windows("count"), [record(0, event(39))], minute) == expected


def test_times_before_1970_floor_too() -> None:
    declared, before = windows("count"), -NOON // MINUTE
    early = record(0, event(before - 4))
    # At 23:58 the window ends at 23:55, and not at 24:00.
    assert value(declared, [early], before - 2) == 0
    assert value(declared, [early], before + 1) == 1


def test_scaling_rounds_half_to_even_each_side_of_a_difference() -> None:
    # 0.25 -> 2 tenths, 0.35 -> 4 (0.35 * 10 is 3.5); 0.25 - 0.35 counts -2 tenths.
    assert value(windows("last"), [record(0, event(15, 0.25))]) == np.float32(0.2)
    assert value(windows("last"), [record(0, event(15, 0.35))]) == np.float32(0.4)
    difference = windows("last", "gain - other")
    assert value(difference, [record(0, event(15, 0.25, other=0.35))]) == np.float32(-0.2)
    assert math.isnan(value(difference, [record(0, event(15, 0.25))]))


def test_last_is_of_the_greatest_time_then_the_greatest_id_in_utf8() -> None:
    ids = ["b", "\uff5e", "\U0001d11e", "a"]
    records = [record(n, event(20, float(n), id)) for n, id in enumerate(ids)]
    assert value(windows("last"), [*records, record(9, event(19, 9.0, "z"))]) == 2


def test_null_keys_and_where() -> None:
    declared = windows("count", where="other < 5")
    records = [
        record(0, event(15, other=4.0)),
        record(1, event(16, other=None)),
        record(2, event(17, other=5.0)),
        record(3, event(18, other=1.0, place=None)),
    ]
    assert value(declared, records) == 1
    assert value(declared, records, place=None) == 0
    assert value(declared, records, place="LGA") == 0


def test_several_keys_must_all_be_equal() -> None:
    declared = windows("count", by=("place", "number"))
    records = [record(0, event(15, number=7)), record(1, event(16, number=8))]
    assert value(declared, records, number=7) == 1


def test_the_first_copy_counts_whatever_came_of_it() -> None:
    declared = windows("sum")
    source, state = declared.sources[STATE.source], declared.contracts[STATE.source]
    first, copy = event(15, 1.0, "x"), event(15, 2.0, "x")
    assert value(declared, [record(1, copy), record(0, first)]) == 1
    # At another time it is another event.
    assert value(declared, [record(0, first), record(1, event(16, 2.0, "x"))]) == 3
    # The first copy is late: the event is, also where a later one seems to be on time.
    late = [record(0, first, after=MINUTE), record(1, copy)]
    assert counted(source, state, late) == []
    # A wrong clock is no event, and no copy of one.
    wrong = [record(0, first, after=-5_000_001), record(1, copy)]
    assert counted(source, state, wrong) == [copy]
    # What never was on Kafka comes after what was.
    assert value(declared, [Record(copy, copy["at"]), record(7, first)]) == 1


@pytest.mark.parametrize(
    ("after", "counts"), [(55_000_000, 1), (55_000_001, 0), (-5_000_000, 1), (-5_000_001, 0)]
)
def test_on_time_is_a_property_of_the_record(after: int, counts: int) -> None:
    assert value(windows("count"), [record(0, event(15), after=after)]) == counts


def test_a_sum_beyond_2_to_the_53_is_an_error() -> None:
    huge = contract("state", largest=2.0**53)
    declared = bind(
        [
            Window(
                "w", Source(STATE.source, "1min", "5s"), "place", "sum", "30min", "5min", "gain", 0
            )
        ],
        SCORED,
        {STATE.source: huge}.__getitem__,
    )
    most = [record(0, event(15, 2.0**53))]
    assert value(declared, most) == 2.0**53
    with pytest.raises(ContractError, match="window w: the sum 9007199254740993 is beyond"):
        value(declared, [*most, record(1, event(16, 1.0))])


def test_results_are_rounded_once() -> None:
    assert rounded("mean", 1, [3, 0], [55, 0]).tolist() == pytest.approx(
        [55 / 30, math.nan], nan_ok=True
    )
    assert rounded("count", 1, [3, 0], None).dtype == np.float32
    assert rounded("sum", 2, 1, 123) == np.float32(1.23)
