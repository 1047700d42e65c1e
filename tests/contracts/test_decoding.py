"""JSON events: what fits becomes columns, what does not is named and harms no neighbour."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.contracts import Contract, EventDecoder

CONTRACT = Contract.load(Path("schemas/flight_delay/departure.v1.json"))
GOOD: dict[str, Any] = {
    "event_id": "20131001-UA-1545-EWR",
    "departed_at": 1_380_600_000_000_000,
    "scheduled_at": 1_380_600_000_000_000,
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "distance": 1400,
    "temp": 39.02,
}


def value(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def without(name: str) -> bytes:
    return json.dumps({k: v for k, v in GOOD.items() if k != name}).encode()


BAD = {
    "empty": (b"", "empty"),
    "a tombstone": (None, "empty"),
    "1 MB": (value(event_id="x" * 1_000_000), "more than 65,536"),
    "not JSON": (b"<xml/>", "malformed"),
    "not UTF-8": (b'{"event_id": "\xff"}', "utf-8"),
    "cut short": (value()[:-5], "truncated"),
    "two values": (value() + value(), "trailing"),
    "an array": (b"[1, 2]", "array"),
    "a missing field": (without("origin"), "origin"),
    "null where none may be": (value(carrier=None), "carrier"),
    "a string for a number": (value(distance="far"), "distance"),
    "a number for a string": (value(carrier=7), "carrier"),
    "a fraction for an integer": (value(flight=1.5), "flight"),
    "a boolean for an integer": (value(flight=True), "flight"),
    "NaN": (value(temp=float("nan")), "malformed"),
    "Infinity": (value(temp=float("inf")), "malformed"),
    "more than a double holds": (value().replace(b"39.02", b"1e999"), "out of range"),
    "more than int64 holds": (value(flight=10**30), "flight"),
    "out of range": (value(temp=1048.36), r"temp is 1048.36, outside \[-100, 150\]"),
    "a time before time": (value(departed_at=-1), "departed_at"),
    "an unknown category": (value(origin="BOS"), "origin is 'BOS', not one of EWR, JFK, LGA"),
    "a malformed code": (value(dest="iah"), "dest"),
    "an empty id": (value(event_id=""), "event_id"),
    "a NUL": (value(event_id="a\0b"), "NUL"),
    "nested too deeply": (b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply"),
    "a lone surrogate": (value().replace(b"UA-1545", rb"\ud800"), "malformed"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_event_is_named_and_its_neighbours_are_kept(bad: bytes | None, reason: str) -> None:
    decoded = EventDecoder(CONTRACT, max_bytes=65_536).decode([value(), bad, value(flight=7)])
    assert list(decoded.kept) == [0, 2]
    assert decoded.columns["flight"].tolist() == [1545, 7]
    assert list(decoded.rejected) == [1]
    assert re.search(reason, decoded.rejected[1])


def test_absent_and_null_read_the_same() -> None:
    decoded = EventDecoder(CONTRACT, max_bytes=65_536).decode(
        [without("temp"), value(temp=None), without("tailnum"), value(tailnum=None)]
    )
    assert np.isnan(decoded.columns["temp"]).tolist() == [True, True, False, False]
    assert decoded.columns["tailnum"].tolist() == ["N14228", "N14228", "", ""]


def test_a_field_that_the_contract_does_not_know_is_ignored() -> None:
    decoded = EventDecoder(CONTRACT, max_bytes=65_536).decode([value(brand_new=1)])
    assert list(decoded.kept) == [0]
    assert "brand_new" not in decoded.columns


def test_a_category_may_be_unknown_to_the_model_but_not_to_the_contract() -> None:
    decoded = EventDecoder(CONTRACT, max_bytes=65_536).decode([value(carrier="ZZ")])
    assert decoded.columns["carrier"].tolist() == ["ZZ"]


@given(st.lists(st.one_of(st.just(value()), st.binary(max_size=200), st.none()), max_size=30))
def test_every_value_ends_in_exactly_one_place(values: list[bytes | None]) -> None:
    decoded = EventDecoder(CONTRACT, max_bytes=65_536).decode(values)
    assert sorted([*decoded.kept, *decoded.rejected]) == list(range(len(values)))
    assert {len(column) for column in decoded.columns.values()} == {len(decoded.kept)}


@given(st.integers(-(10**12), 10**13), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_bits(flight: int, temp: float) -> None:
    decoded = EventDecoder(CONTRACT, max_bytes=65_536).decode([value(flight=flight, temp=temp)])
    fits = 1 <= flight <= 9999 and -100 <= temp <= 150
    assert list(decoded.kept) == ([0] if fits else [])
    if fits:
        assert decoded.columns["temp"].tobytes() == np.float64(temp).tobytes()
