"""Eleven weeks of one person's glucose sensor, as readings and what came half an hour later.

Source: the package bokeh-sampledata, whose CGM.csv.gz holds the readings of 2010, given to the
public domain by the person who wore the sensor. Times are that person's clock; which zone it was
in nobody says, so they are taken as UTC.
"""

from __future__ import annotations

from importlib.metadata import version

import pandas as pd
import pyarrow as pa
from bokeh_sampledata import package_path

from lockstep.contracts import Contract

__all__ = ["BATCH", "CONTRACTS", "origin", "tables"]

BATCH = "bokeh-sampledata"
"""The lake's batch that these events are."""

CONTRACTS = ("reading.v1.json", "outcome.v1.json")
"""What `tables` makes, in this order."""

_WEARER = "donor-1"
_FIRST = "2010-07-24"
"""No sensor was worn on 23 July, and a window must not reach into a day that the lake lacks."""
_AHEAD = pd.Timedelta("30min")
_ABOUT = pd.Timedelta("3min")
"""How far from half an hour the later reading may be."""


def origin() -> str:
    """Names the version of the source; other text means other data."""
    return f"bokeh-sampledata {version('bokeh-sampledata')}"


def tables(readings: Contract, outcomes: Contract) -> list[pa.Table]:
    """All events of each contract, in order of event time."""
    taken = _readings()
    return [_to_arrow(taken, readings), _to_arrow(_outcomes(taken), outcomes)]


def _readings() -> pd.DataFrame:
    recorded = pd.read_csv(package_path("CGM.csv.gz"), parse_dates=["datetime"])
    recorded = recorded[recorded["datetime"] >= _FIRST].reset_index(drop=True)
    times = recorded["datetime"]
    # A sensor that is calibrated may be read twice in a minute.
    again = recorded.groupby("datetime").cumcount().astype(str).radd("-").replace("-0", "")
    return pd.DataFrame(
        {
            "event_id": _WEARER + times.dt.strftime("-%Y%m%dT%H%M") + again,
            "read_at": times,
            "wearer": _WEARER,
            "hour": times.dt.hour.astype("int64"),
            "glucose": recorded["glucose"].astype("float64"),
            # Where the current is missing, the source has a word instead of a number.
            "current": pd.to_numeric(recorded["isig"], errors="coerce"),
        }
    )


def _outcomes(readings: pd.DataFrame) -> pd.DataFrame:
    """For each reading the one half an hour later; a reading without one has no outcome."""
    later = readings[["read_at", "glucose"]].rename(
        columns={"read_at": "known_at", "glucose": "after"}
    )
    found = pd.merge_asof(
        readings.assign(wanted=readings["read_at"] + _AHEAD).rename(columns={"glucose": "before"}),
        later,
        left_on="wanted",
        right_on="known_at",
        direction="nearest",
        tolerance=_ABOUT,
    )
    return found[found["after"].notna()]


def _to_arrow(events: pd.DataFrame, contract: Contract) -> pa.Table:
    events = events.sort_values([contract.time, contract.id], kind="stable")
    events[contract.time] = events[contract.time].dt.tz_localize("UTC")
    names = contract.arrow_schema.names
    return pa.Table.from_pandas(events[names], contract.arrow_schema, preserve_index=False)
