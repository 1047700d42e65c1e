"""Window values of many events at once, for events that were on time and have no copies.

Sorted columns and binary search: quick enough for all flights of a year. Values may not be
null. The oracle is lockstep.windows.reference: tests/compiling/test_window_inputs.py compares.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lockstep.contracts import Columns
from lockstep.windows.semantics import WindowSet, WindowSpec, rounded

__all__ = ["window_values"]

_COMPARE = {"=": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}

Values = np.ndarray[Any, np.dtype[np.float32]]


def window_values(
    windows: WindowSet, states: Mapping[str, Columns], scored: Columns, time: np.ndarray[Any, Any]
) -> dict[str, Values]:
    """Window -> float32 values of `scored` events at `time`. `states` are by source."""
    return {
        window.name: _values(windows, window, states[window.source], scored, time)
        for window in windows.windows
    }


def _values(
    windows: WindowSet,
    window: WindowSpec,
    state: Columns,
    scored: Columns,
    time: np.ndarray[Any, Any],
) -> Values:
    contract = windows.contracts[window.source]
    for condition in window.where:
        true = _COMPARE[condition.operator](state[condition.field], condition.literal)
        state = {name: column[true] for name, column in state.items()}
    key, asked = _keys(window, state, scored)
    # By key, and within a key by (event time, id), which is what `last` goes by.
    order = np.lexsort((state[contract.id].astype(str), state[contract.time], key))
    order = order[key[order] >= 0]
    at, number = state[contract.time][order], _scaled(window, state)[order]
    first = int(min(at.min(initial=0), time.min(initial=0))) - window.over - 2 * window.hop
    span = np.int64(int(max(at.max(initial=0), time.max(initial=0))) - first + 1)
    place = key[order] * span + (at - first)
    end = windows.as_of(window, time)
    high = np.searchsorted(place, asked * span + (end - first))
    low = np.searchsorted(place, asked * span + (end - window.over - first))
    count = np.where(asked >= 0, high - low, 0)
    if window.agg == "last":
        found = np.append(number, 0)[np.maximum(high - 1, 0)]
    elif window.agg in ("min", "max"):
        least = np.minimum if window.agg == "min" else np.maximum
        found = least.reduceat(np.append(number, 0), np.stack([low, high], axis=1).ravel())[::2]
    else:
        total = np.concatenate([[0], np.cumsum(number)])
        found = total[high] - total[low]
    return rounded(window.agg, window.scale, count, found)


def _keys(
    window: WindowSpec, state: Columns, scored: Columns
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A number for each key; -1 where a part of it is null."""
    rows = len(state[window.by[0]])
    key = np.zeros(rows + len(scored[window.by[0]]), np.int64)
    null = np.zeros(len(key), bool)
    for name in window.by:
        both = np.concatenate([state[name], scored[name]])
        null |= both == "" if both.dtype == object else False
        codes, values = pd.factorize(both)
        key = key * (len(values) + 1) + codes
    # Small numbers, so that a key and a time fit into one int64.
    key = np.where(null, -1, pd.factorize(key)[0])
    return key[:rows], key[rows:]


def _scaled(window: WindowSpec, state: Columns) -> np.ndarray[Any, Any]:
    def scaled(name: str) -> np.ndarray[Any, Any]:
        return np.rint(state[name].astype(np.float64) * 10.0**window.scale).astype(np.int64)

    if window.value is None:
        return np.zeros(len(state[window.by[0]]), np.int64)
    value = scaled(window.value)
    return value - scaled(window.minus) if window.minus else value
