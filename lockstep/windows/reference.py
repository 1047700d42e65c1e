"""The reference: what counts and what a window value is, said once more, slowly and obviously.

It reads every record for every value and shares no code with the engines but the declaration
and the last rounding. It is the oracle of the tests and scores nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lockstep.contracts import Contract, Limits
from lockstep.errors import ContractError
from lockstep.windows.semantics import Condition, StateSource, WindowSet, WindowSpec

__all__ = ["Record", "counted", "verdict", "window_values"]

_EXACT = 2**53


class Record(NamedTuple):
    """A state event as it lies in the log. Nulls are None; `available_at` in microseconds."""

    event: Mapping[str, Any]
    available_at: int
    partition: int | None = None
    """None: never was on Kafka."""
    offset: int | None = None


def verdict(limits: Limits, time: int, available_at: int | None) -> str:
    """ "refused", "late" or "taken": of a record that keeps its contract.

    A record is `available_at` when Kafka got it. None says that Kafka got it and did not say
    when: nobody can tell, so nobody counts it. A record that never was on Kafka is given its own
    event's time, and is therefore neither from a wrong clock nor too old nor late. An event may
    be ahead of its record by `clock_skew` and behind it by `oldest`, to the microsecond; beyond
    them it is no event, and copies of it are no copies. It is late, and still an event, where
    it is behind its record by more than `lateness`.
    """
    if available_at is None:
        return "refused"
    ahead, behind = time - available_at, available_at - time
    if ahead > limits.clock_skew or behind > limits.oldest:
        return "refused"
    return "late" if behind > limits.lateness else "taken"


def window_values(
    windows: WindowSet, records: Mapping[str, Sequence[Record]], time: int, event: Mapping[str, Any]
) -> list[np.float32]:
    """The window values of one event at `time`, in the order of the windows."""
    states = {
        name: counted(source, windows.contracts[name], records.get(name, ()))
        for name, source in windows.sources.items()
    }
    return [
        _value(windows, window, states[window.source], time, event) for window in windows.windows
    ]


def counted(
    source: StateSource, contract: Contract, records: Iterable[Record]
) -> list[Mapping[str, Any]]:
    """The events that count: not refused, then one of several copies, and that one on time."""

    def judged(record: Record) -> str:
        return verdict(source.limits, record.event[contract.time], record.available_at)

    first: dict[tuple[str, int], Record] = {}
    for record in sorted(records, key=_place):
        if judged(record) != "refused":
            first.setdefault((record.event[contract.id], record.event[contract.time]), record)
    return [record.event for record in first.values() if judged(record) == "taken"]


def _place(record: Record) -> tuple[bool, int, int]:
    return record.partition is None, record.partition or 0, record.offset or 0


def _value(
    windows: WindowSet,
    window: WindowSpec,
    events: Sequence[Mapping[str, Any]],
    time: int,
    event: Mapping[str, Any],
) -> np.float32:
    contract = windows.contracts[window.source]
    end = (time - windows.sources[window.source].delay) // window.hop * window.hop
    begin = end - window.over
    key = [event[name] for name in window.by]
    inside = []
    for state in events:
        if None in key or [state[name] for name in window.by] != key:
            continue
        if not begin <= state[contract.time] < end:
            continue
        if not all(_true(condition, state) for condition in window.where):
            continue
        number = _number(window, state)
        if number is not None:
            inside.append(((state[contract.time], state[contract.id].encode()), number))
    return _aggregate(window, inside)


def _true(condition: Condition, event: Mapping[str, Any]) -> bool:
    value, literal = event[condition.field], condition.literal
    if condition.operator == "is null":
        return value is None
    if condition.operator == "is not null":
        return value is not None
    if value is None:
        return False
    return bool({
        "=": value == literal,
        "!=": value != literal,
        "<": value < literal,
        "<=": value <= literal,
        ">": value > literal,
        ">=": value >= literal,
    }[condition.operator])  # fmt: skip


def _number(window: WindowSpec, event: Mapping[str, Any]) -> int | None:
    """The scaled value; 0 for a window that counts events; None for one that is not counted."""
    if window.value is None:
        return 0
    scaled = []
    for name in (window.value, window.minus):
        if name is None:
            continue
        if event[name] is None or math.isnan(event[name]):
            return None
        scaled.append(int(np.rint(np.float64(event[name]) * np.float64(10**window.scale))))
    return scaled[0] - (scaled[1] if len(scaled) == 2 else 0)


def _aggregate(window: WindowSpec, inside: list[tuple[tuple[int, bytes], int]]) -> np.float32:
    numbers = [number for _, number in inside]
    unit = np.float64(10**window.scale)
    if window.agg == "count":
        return np.float32(len(numbers))
    if not numbers:
        return np.float32(np.nan)
    if window.agg in ("sum", "mean"):
        total = sum(numbers)
        if abs(total) > _EXACT:
            raise ContractError(
                f"window {window.name}: the sum {total} is beyond 2**53, where it is not exact",
                next="a smaller scale or a shorter window",
            )
        if window.agg == "mean":
            return np.float32(np.float64(total) / np.float64(len(numbers) * 10**window.scale))
        return np.float32(np.float64(total) / unit)
    if window.agg == "last":
        return np.float32(np.float64(max(inside)[1]) / unit)
    chosen = min(numbers) if window.agg == "min" else max(numbers)
    return np.float32(np.float64(chosen) / unit)
