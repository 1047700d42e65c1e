"""Window features as every engine reads them: plain values, checked, compiled into the manifest.

A window of an event at time t is an aggregate over state events with the same key and

    as_of = floor((t - delay) / hop) * hop        as_of - over <= event time < as_of

Times are integer microseconds since 1970 UTC; divisions floor. What counts, in this order:

1. A record that is refused (`lockstep.contracts.judgement`: it breaks its contract, or its event
   time is more than `clock_skew` after `available_at`) is no event.
2. Of several copies of an event (source, id, event time) the one with the lowest Kafka
   (partition, offset) counts; rows that never were on Kafka come after those that were.
3. An event counts only if it was on time: available_at <= event time + delay - clock_skew.
   That is a property of the record, not of its reader, so every engine leaves out the same.
4. Null keys are not folded, and a query with a null key finds nothing. `where` must be true:
   a comparison with null is not. A null value is not counted.

Values are integers: rint(float64(x) * 10**scale); of a difference each side first. Sums are
exact, and results are rounded once, to float32, in `rounded`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, reduce
from typing import Any, Literal

import msgspec
import numpy as np

from lockstep.contracts import NO_LIMITS, Contract, Limits

__all__ = [
    "MOST_SCALE",
    "NO_WINDOWS",
    "VALUES",
    "Aggregate",
    "Condition",
    "Operator",
    "StateSource",
    "WindowSet",
    "WindowSpec",
    "epoch_micros",
    "rounded",
]

Aggregate = Literal["count", "sum", "mean", "min", "max", "last"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "is null", "is not null"]

MOST_SCALE = 9
"""Decimals of a value that can count."""
VALUES = "window_values"
"""The column of events that come with their window values: a list of floats a row."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One comparison of a `where`; all of them must be true. `literal` is None for `is null`."""

    field: str
    operator: Operator
    literal: str | int | float | None = None


class StateSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events that windows aggregate. `name` is their lake table; times are microseconds."""

    name: str
    delay: int
    clock_skew: int
    contract: dict[str, Any]
    """The JSON Schema of its events."""

    @property
    def limits(self) -> Limits:
        """What makes one of its records a wrong clock's, or late."""
        return Limits(self.clock_skew, self.delay - self.clock_skew)


class WindowSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One window. `over` and `hop` are microseconds, `over` a multiple of `hop`."""

    name: str
    source: str
    by: tuple[str, ...]
    agg: Aggregate
    over: int
    hop: int
    scale: int
    """How many decimals of the value count."""
    value: str | None = None
    """The field that is aggregated; None counts events."""
    minus: str | None = None
    """The field that is subtracted from it, if any."""
    where: tuple[Condition, ...] = ()


class WindowSet:
    """The windows of one model, in the order of a row's window values, and their sources."""

    def __init__(self, sources: Iterable[StateSource], windows: Iterable[WindowSpec]) -> None:
        self.sources = {source.name: source for source in sources}
        self.windows = tuple(windows)
        self.contracts = {
            name: Contract.from_document(source.contract, where=f"the contract of {name}")
            for name, source in self.sources.items()
        }

    def __len__(self) -> int:
        return len(self.windows)

    def __bool__(self) -> bool:
        return bool(self.windows)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(window.name for window in self.windows)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of everything that decides a window value; state belongs to it."""
        content = [list(self.sources.values()), self.windows]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

    @property
    def limits(self) -> Limits:
        """What makes a scored event a wrong clock's: the narrowest promise of the sources.

        Everything that its windows may see has then been appended before its own record.
        """
        skews = [source.clock_skew for source in self.sources.values()]
        return Limits(min(skews)) if skews else NO_LIMITS

    def as_of(self, window: WindowSpec, time: Any) -> Any:
        """The end (exclusive) of a window of events at `time`: an int, or an int64 array."""
        return (time - self.sources[window.source].delay) // window.hop * window.hop

    def needed_from(self, time: Any, source: str | None = None) -> Any:
        """The earliest state event (of `source`) that a window of an event at `time` can see.

        An int, or an int64 array. `time` itself where there is no window.
        """
        windows = [w for w in self.windows if source in (None, w.source)]
        begins = [self.as_of(w, time) - w.over for w in windows]
        if isinstance(time, np.ndarray):
            return reduce(np.minimum, begins, time)
        return min(begins, default=time)

    def reach(self, source: str) -> int:
        """No window over `source` of an event at t sees an event before t - reach."""
        spans = [w.over + w.hop for w in self.windows if w.source == source]
        return max(spans, default=0) + self.sources[source].delay

    def days(self, source: str, first: date, last: date) -> list[date]:
        """The UTC days of `source` that windows of events from `first` to `last` may see."""
        begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
        end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
        windows = [w for w in self.windows if w.source == source]
        if not windows:
            return []
        start_us = epoch_micros(begin)
        earliest = self.needed_from(start_us, source)
        # The latest event of the last day is one microsecond before its end.
        latest = max(self.as_of(w, epoch_micros(end) - 1) for w in windows) - 1
        from_day, until_day = _day(earliest), _day(latest)
        return [from_day + timedelta(days=n) for n in range((until_day - from_day).days + 1)]


NO_WINDOWS = WindowSet((), ())


def rounded(agg: Aggregate, scale: int, count: Any, number: Any) -> Any:
    """float32 results of int64 counts and sums (or values); NaN where nothing was counted.

    Arrays or scalars. For `count` the number is ignored.
    """
    count = np.asarray(count, np.int64)
    if agg == "count":
        return count.astype(np.float32)
    divisor = 10**scale * count if agg == "mean" else np.int64(10**scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.asarray(number, np.int64).astype(np.float64) / np.asarray(divisor, np.float64)
    return np.where(count > 0, found, np.nan).astype(np.float32)


def epoch_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _day(micros: int) -> date:
    return (_EPOCH + timedelta(microseconds=micros)).date()
