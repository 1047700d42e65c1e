"""Local time as arithmetic: a time zone's changes of offset, as constants of the graph.

The time zone database changes a few times a year. What a compiled model knows of it is fixed
when it is traced, so that it answers the same on every machine and for ever.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from lockstep.features.exact import Array, floor_divide, namespace

__all__ = ["Zone", "local_time"]

_MICROS = 1_000_000
_DAY = 86_400


@dataclass(frozen=True, eq=False)
class Zone:
    """Offsets of one time zone, cut into buckets that hold at most one change each.

    Times before the first or after the last bucket take the offset at that end.
    """

    name: str
    start: int
    """UTC microseconds at which the first bucket begins."""
    width: int
    """Microseconds in one bucket."""
    change: np.ndarray[Any, np.dtype[np.int64]]
    """When the offset changes inside the bucket; its end when it does not."""
    before: np.ndarray[Any, np.dtype[np.int64]]
    """Microseconds to add until then."""
    after: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    @cache
    def load(cls, name: str, first_year: int = 2000, last_year: int = 2100) -> Zone:
        """Read a zone from the tzdata package, never from the machine's own database."""
        region, _, city = name.rpartition("/")
        package = ".".join(["tzdata.zoneinfo", *region.split("/")]).rstrip(".")
        with (importlib.resources.files(package) / city).open("rb") as file:
            zone = ZoneInfo.from_file(file, key=name)
        start = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
        end = int(datetime(last_year + 1, 1, 1, tzinfo=UTC).timestamp())
        changes = _changes(zone, start, end)
        gaps = np.diff(np.array([start, *changes, end]))
        days = max(int(gaps[1:-1].min()) // _DAY, 1) if len(changes) > 1 else 365
        width = days * _DAY
        edges = range(start, end, width)
        change, before, after = [], [], []
        for edge in edges:
            inside = [t for t in changes if edge < t <= edge + width]
            change.append(inside[0] if inside else edge + width)
            before.append(_offset(zone, edge))
            after.append(_offset(zone, edge + width))
        as_micros = [np.array(v, np.int64) * _MICROS for v in (change, before, after)]
        return cls(name, start * _MICROS, width * _MICROS, *as_micros)


def local_time(utc: Array, zone: Zone) -> Array:
    """Microseconds on the zone's wall clock, as if they were UTC, of UTC microseconds.

    >>> import numpy as np
    >>> noon = np.array([1_357_041_600_000_000])  # 2013-01-01, in UTC
    >>> (local_time(noon, Zone.load("America/New_York")) - noon) // 3_600_000_000
    array([-5])
    """
    xp = namespace(utc)
    bucket = floor_divide(utc - zone.start, zone.width)
    last = len(zone.change) - 1
    bucket = xp.where(bucket < 0, 0, xp.where(bucket > last, last, bucket))
    change, before, after = (
        xp.take(xp.asarray(table), bucket) for table in (zone.change, zone.before, zone.after)
    )
    return utc + xp.where(utc < change, before, after)


def _offset(zone: ZoneInfo, at: int) -> int:
    shift = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)).astimezone(zone).utcoffset()
    assert shift is not None  # noqa: S101  # a ZoneInfo always has an offset
    return int(shift.total_seconds())


def _changes(zone: ZoneInfo, start: int, end: int) -> list[int]:
    """The seconds at which the offset changes in (start, end], by bisection day by day."""
    found, last = [], _offset(zone, start)
    for day in range(start, end, _DAY):
        now = _offset(zone, day + _DAY)
        if now == last:
            continue
        low, high = day, day + _DAY
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(zone, middle) == last else (low, middle)
        found.append(high)
        last = now
    return found
