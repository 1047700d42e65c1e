"""Row features of a reading. They see its fields and, by name, the values of its windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockstep.contracts import Columns
from lockstep.features import Array, Event, floor_divide, namespace

__all__ = ["features", "fit"]

_MINUTE = 60_000_000
_SINCE = ("previous", "mean_15min", "mean_30min", "mean_1h", "min_1h", "max_3h")
_AS_THEY_ARE = ("glucose", "current", "mean_1d", "lows_1d", "usual_change")


def fit(columns: Columns) -> dict[str, Any]:
    """These features learn nothing from the training rows."""
    return {}


def features(event: Event, fitted: Mapping[str, Any]) -> dict[str, Array]:
    """Name -> float32 array, in the order of the model's matrix. Null numbers are NaN."""
    glucose = event["glucose"]
    xp = namespace(glucose)
    minute = floor_divide(event["read_at"], _MINUTE) % 1440
    found = {"hour_of_day": xp.astype(minute, xp.float32) / 60}
    found["sensitivity"] = event["current"] / glucose
    for name in _SINCE:
        found[f"since_{name}"] = glucose - event[name]
    return found | {name: event[name] for name in _AS_THEY_ARE}
