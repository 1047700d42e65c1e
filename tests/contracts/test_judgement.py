"""What counts: at every bound and one microsecond beside it, and how few days that leaves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.contracts import NO_TIME, Contract, Judge, Limits, readable_at
from lockstep.windows.reference import verdict

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOON = 1_372_680_000_000_000
CONTRACT = Contract.from_document(
    {
        "x-lockstep": {
            **{"name": "shop.order", "version": 1, "source": "orders"},
            **{"id": "id", "time": "at"},
        },
        "type": "object",
        "required": ["id", "at"],
        "properties": {
            "id": {"type": "string", "maxLength": 10},
            "at": {
                **{"type": "integer", "x-unit": "timestamp-micros"},
                **{"minimum": -11_000_000_000_000_000, "maximum": 200_000_000_000_000_000},
            },
        },
    }
)
LIMITS = Limits(clock_skew=5_000_000, lateness=6 * HOUR, oldest=366 * DAY)


def orders(*times: int) -> list[bytes | None]:
    return [json.dumps({"id": f"o{n}", "at": at}).encode() for n, at in enumerate(times)]


def said(judge: Judge, values: list[bytes | None], available_at: list[int]) -> list[str]:
    judged = judge.records(values, np.array(available_at))
    found = dict.fromkeys(judged.refused, "refused")
    found |= {
        int(position): "late" if late else "taken"
        for position, late in zip(judged.kept, judged.late, strict=True)
    }
    return [found[position] for position in range(len(values))]


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (LIMITS.clock_skew, "taken"),
        (LIMITS.clock_skew + 1, "refused"),
        (0, "taken"),
        (-LIMITS.lateness, "taken"),
        (-LIMITS.lateness - 1, "late"),
        (-LIMITS.oldest, "late"),
        (-LIMITS.oldest - 1, "refused"),
    ],
)
def test_each_bound_is_inclusive_to_the_microsecond(ahead: int, expected: str) -> None:
    assert said(Judge(CONTRACT, LIMITS), orders(NOON + ahead), [NOON]) == [expected]
    assert verdict(LIMITS, NOON + ahead, NOON) == expected


def test_each_refusal_says_why_and_spoils_no_neighbour() -> None:
    values = [*orders(NOON, NOON + DAY, NOON - 400 * DAY, NOON), b"{", b""]
    judged = Judge(CONTRACT, LIMITS, max_bytes=100).records(
        values, np.array([NOON, NOON, NOON, NO_TIME, NOON, NOON])
    )
    assert judged.kept.tolist() == [0]
    assert judged.columns["id"].tolist() == ["o0"]
    assert judged.refused == {
        1: "wrong clock: at is 86400.000 s after its record's timestamp, more than the clock skew"
        " of 5 s",
        2: "too old: at is 400.0 days before its record's timestamp, more than 366 days",
        3: "the record has no timestamp",
        4: "Input data was truncated",
        5: "the value is empty",
    }


def test_a_late_one_says_by_how_much() -> None:
    judge = Judge(CONTRACT, LIMITS)
    judged = judge.records(orders(NOON, NOON - 7 * HOUR), np.array([NOON, NOON]))
    assert judged.late.tolist() == [False, True]
    assert judge.why_late(judged, 1) == (
        "too late: at is 7.0 hours before its record's timestamp, more than 6 hours"
    )
    assert judged.only(~judged.late).columns["id"].tolist() == ["o0"]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (-1, NO_TIME),
        (0, 0),
        (1_372_680_000_123, 1_372_680_000_123_000),
        (2**63 - 1, NO_TIME),
        (-(2**63), NO_TIME),
    ],
)
def test_a_timestamp_that_no_clock_shows_is_none(stamp: int, expected: int) -> None:
    assert readable_at(np.array([stamp])).tolist() == [expected]


_TIMES = st.integers(-11_000_000_000_000_000, 200_000_000_000_000_000)
_NEAR = st.sampled_from([0, LIMITS.clock_skew, -LIMITS.lateness, -LIMITS.oldest])
_LIMITS = st.builds(
    Limits,
    st.integers(0, 3 * DAY),
    st.integers(0, 9 * DAY),
    st.one_of(st.integers(0, 400 * DAY), st.just(2**62)),
)


@given(
    st.one_of(st.just(LIMITS), _LIMITS),
    st.lists(
        st.tuples(
            st.one_of(st.just(NO_TIME), st.integers(0, 253_402_300_799_999_000)),
            st.one_of(_TIMES, st.tuples(_NEAR, st.integers(-2, 2)).map(sum)),
        ),
        max_size=20,
    ),
)
def test_the_judge_is_the_reference(limits: Limits, drawn: list[tuple[int, int]]) -> None:
    """Anywhere in time, and within two microseconds of each bound."""
    times = [at if abs(at) > 400 * DAY or seen == NO_TIME else seen + at for seen, at in drawn]
    times = [max(-11_000_000_000_000_000, min(200_000_000_000_000_000, at)) for at in times]
    seen = [available for available, _ in drawn]
    expected = [
        verdict(limits, at, None if available == NO_TIME else available)
        for at, available in zip(times, seen, strict=True)
    ]
    assert said(Judge(CONTRACT, limits), orders(*times), seen) == expected


@given(_LIMITS, st.integers(1, 3), st.data())
def test_wrong_events_make_a_bounded_number_of_days(
    limits: Limits, days: int, data: st.DataObject
) -> None:
    """Of events at any time since 1621, in records of a few days."""
    first = NOON // DAY * DAY
    stamps = st.integers(first, first + days * DAY - 1)
    seen = data.draw(st.lists(stamps, min_size=1, max_size=60))
    times = data.draw(st.lists(_TIMES, min_size=len(seen), max_size=len(seen)))
    bounds = (limits.clock_skew, -limits.lateness, -limits.oldest)
    ends = [min(max(at + by, 0), 10**17) for at in seen for by in bounds]
    judge = Judge(CONTRACT, limits)
    judged = judge.records(orders(*times, *ends), np.array([*seen, *np.repeat(seen, 3)]))
    made = np.unique(judged.columns["at"] // DAY)
    after = -(-limits.clock_skew // DAY)
    assert len(made) <= days + -(-limits.oldest // DAY) + after
    live = np.unique(judged.columns["at"][~judged.late] // DAY)
    assert len(live) <= days + -(-limits.lateness // DAY) + after


def test_a_bug_in_judging_one_record_spoils_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(CONTRACT)
    decode = judge._decoder.decode

    def wrong(values: list[bytes | None]) -> object:
        if b"boom" in values:
            raise TypeError("sequence item 0: expected str instance, NoneType found")
        return decode(values)

    monkeypatch.setattr(judge._decoder, "decode", wrong)
    good = orders(*range(5))
    values = [b"boom", *good[:3], b"{", b"boom", *good[3:]]
    judged = judge.records(values, np.zeros(len(values), np.int64))
    assert judged.kept.tolist() == [1, 2, 3, 6, 7]
    assert judged.columns[CONTRACT.id].tolist() == [f"o{n}" for n in range(5)]
    assert len(judged.late) == len(judged.available_at) == 5
    assert judged.refused.keys() == {0, 4, 5}
    assert judged.refused[0] == judged.refused[5] == "cannot be judged: TypeError"
    assert judge.records([b"boom"], np.zeros(1, np.int64)).refused.keys() == {0}
    assert judge.records([], np.zeros(0, np.int64)).kept.tolist() == []
