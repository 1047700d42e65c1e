"""Rows as JSON events: what a reader decodes is what the lake holds, in every bit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.contracts import Contract, EventDecoder, columns_from_arrow, to_json
from tests.small_model import arrivals, departures, flights

SCHEMAS = Path("schemas/flight_delay")


@pytest.mark.parametrize("contract", [departures, arrivals])
def test_a_month_of_real_events_comes_back(contract):
    found = contract()
    table = flights()[found.source].slice(100_000, 30_000)
    decoded = EventDecoder(found, max_bytes=10_000).decode(to_json(found, table))
    assert not decoded.rejected
    expected = columns_from_arrow(found, table)
    assert decoded.columns.keys() == expected.keys()
    for name, column in expected.items():
        same_bits(decoded.columns[name], column)


CONTRACT = Contract.load(SCHEMAS / "departure.v1.json")
TIMES = st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(
    lambda t: t.replace(tzinfo=UTC)
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)


@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
            ).map(lambda text: text[:64]),
            TIMES,
            TEXT.map(lambda text: text or None),
            st.one_of(st.none(), st.floats(0, 250)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_time_and_float_comes_back(rows):
    ids, times, tails, winds = map(list, zip(*rows, strict=True))
    count = len(rows)
    columns = {
        "event_id": pa.array(ids, pa.string()),
        "departed_at": pa.array(times, pa.timestamp("us", tz="UTC")),
        "scheduled_at": pa.array(times, pa.timestamp("us", tz="UTC")),
        "carrier": pa.array(["AA"] * count),
        "flight": pa.array([1] * count),
        "tailnum": pa.array(tails, pa.string()),
        "origin": pa.array(["EWR"] * count),
        "dest": pa.array(["IAH"] * count),
        "distance": pa.array([0.1] * count),
        "wind_speed": pa.array(winds, pa.float64()),
    }
    table = pa.table(columns)
    decoded = EventDecoder(CONTRACT, max_bytes=10_000).decode(to_json(CONTRACT, table))
    assert not decoded.rejected
    for name, column in columns_from_arrow(CONTRACT, table).items():
        same_bits(decoded.columns[name], column)


def test_null_is_null():
    table = flights()[CONTRACT.source].slice(0, 1)
    event = json.loads(to_json(CONTRACT, table)[0])
    assert event["wind_gust"] is None
    assert event["event_id"] == "20130101-UA-1545-EWR"
    assert list(event) == [field.name for field in CONTRACT.fields]


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    if found.dtype == np.float64:
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        found, expected = np.nan_to_num(found).view("i8"), np.nan_to_num(expected).view("i8")
    np.testing.assert_array_equal(found, expected)
