"""Features of a departing flight: what is known when it leaves the gate, and its windows.

Every operation is exact, so NumPy and the compiled graph agree in every bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lockstep.contracts import Columns
from lockstep.features import (
    Array,
    Event,
    Zone,
    floor_divide,
    local_time,
    lookup,
    namespace,
)
from models.flight_delay.windows import WINDOWS

__all__ = ["features", "fit", "row_features"]

_MINUTE = 60_000_000
_DAY = 86_400_000_000
_UNSEEN = -1.0
_CATEGORIES = ("carrier", "origin", "dest", "engine")
_AS_THEY_ARE = (
    *("distance", "seats", "temp", "humid", "wind_dir", "wind_speed"),
    *("precip", "visib"),
)


def fit(columns: Columns) -> dict[str, Any]:
    """What the features learn from the training rows: a code for each category."""
    return {
        name: {value: code for code, value in enumerate(sorted(set(columns[name]) - {""}))}
        for name in _CATEGORIES
    }


def features(event: Event, fitted: Mapping[str, Any]) -> dict[str, Array]:
    """Name -> float32 array, in the order of the model's matrix. Null numbers are NaN."""
    return row_features(event, fitted) | {window.name: event[window.name] for window in WINDOWS}


def row_features(event: Event, fitted: Mapping[str, Any]) -> dict[str, Array]:
    """What the event says by itself."""
    scheduled, departed = event["scheduled_at"], event["departed_at"]
    xp = namespace(scheduled)
    local = local_time(scheduled, Zone.load("America/New_York"))
    minute_of_day = floor_divide(local % _DAY, _MINUTE)
    # 1970-01-01 was a Thursday, three days after a Monday.
    weekday = floor_divide(local, _DAY) + 3
    late = floor_divide(departed - scheduled, _MINUTE)
    gust, wind = event["wind_gust"], event["wind_speed"]
    found = {name: lookup(event[name], fitted[name], _UNSEEN) for name in _CATEGORIES}
    found["hour"] = xp.astype(minute_of_day, xp.float32) / 60
    found["weekday"] = xp.astype(weekday % 7, xp.float32)
    found["dep_delay"] = xp.astype(late, xp.float32)
    found["plane_age"] = 2013 - event["plane_year"]
    found["dew_spread"] = event["temp"] - event["dewp"]
    found["gust"] = xp.where(xp.isnan(gust), wind, gust)
    found["instrument_flight"] = xp.astype(
        (event["visib"] < 3) | (event["precip"] > np.float32(0.1)), xp.float32
    )
    return found | {name: event[name] for name in _AS_THEY_ARE}
