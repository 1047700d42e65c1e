"""Rows that nobody recorded but that a model must answer the same everywhere.

Null, NaN, both infinities, negative zero, the smallest and the largest floats, categories that
training never saw, the contract's bounds, and every place where an answer may jump, such as a
tree's threshold, with the floats next to it. Windows have all of that too, whether or not events
could ever add up to it. Drawn with a fixed seed: the same model gets the same rows.

Events `within` the contract are rare, too, but may come: numbers keep their bounds and are null
only where they may be, and windows are what sums can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.compiled_model.manifest import Input
from lockstep.contracts import Columns, Contract, Field
from lockstep.estimators.protocol import Cuts
from lockstep.windows.semantics import WindowSet

__all__ = ["edge_columns", "edge_matrix", "spread"]

_SEED = 20130101
_SPECIAL = (
    *(np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.1754944e-38),
    *(3.4028235e38, -3.4028235e38, 16777217.0),
)
_LARGEST_SUM = 2.0**53
_UNSEEN = ("", "?", "\u00e9\u00df\u4e2d", "a" * 40)


def edge_columns(
    contract: Contract,
    inputs: Sequence[Input],
    windows: WindowSet,
    cuts: Cuts,
    seen: Columns,
    rows: int,
    *,
    within: bool = False,
) -> dict[str, np.ndarray[Any, Any]]:
    """`rows` events at the edges, and their window values, float32, by name.

    `seen` are recorded events, whose categories are drawn too. `within` draws what the contract
    allows only, but for strings: a feature asks of one whether it is another, whatever it is.
    """
    draw = np.random.default_rng(_SEED)
    near = _neighbours(np.concatenate(cuts))
    special = np.array(_SPECIAL)
    found = {}
    for wanted in inputs:
        field = contract.by_name[wanted.name]
        values: Any
        if field.kind == "string":
            known = [] if field.sensitive else sorted(set(seen[field.name].tolist()))
            values = np.array([*_UNSEEN, *field.enum, *known], object)
        elif field.kind == "number":
            values = np.concatenate([_bounds(field), near]).astype(np.float64)
            values = _allowed(field, values) if within else values
        else:
            values = seen[field.name]
        found[field.name] = values[draw.integers(0, len(values), rows)]
        if field.kind != "string":
            # Half of them rare ones, which the many others would leave no room.
            rare = special if field.kind == "number" else _bounds(field)
            if within:
                rare = _allowed(field, np.concatenate([_bounds(field), rare]))
            half = np.flatnonzero(draw.random(rows) < 0.5)
            found[field.name][half] = draw.choice(rare, len(half)).astype(values.dtype)
    rare = special.astype(np.float32)
    values = np.concatenate([near, rare])
    if within:
        rare, values = (v[~(np.abs(v) > _LARGEST_SUM)] for v in (rare, values))
    for name in windows.names:
        found[name] = values[draw.integers(0, len(values), rows)]
        half = np.flatnonzero(draw.random(rows) < 0.5)
        found[name][half] = draw.choice(rare, len(half))
    return found


def edge_matrix(cuts: Cuts, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32[rows, features]: each feature at its own cuts, their neighbours, and beyond."""
    draw = np.random.default_rng(_SEED)
    matrix = np.empty((rows, len(cuts)), np.float32)
    for position, thresholds in enumerate(cuts):
        own = _neighbours(thresholds)
        values = np.concatenate([own, np.array(_SPECIAL, np.float32)])
        matrix[:, position] = values[draw.integers(0, len(values), rows)]
        missing = draw.random(rows) < 0.1
        matrix[missing, position] = np.nan
    return matrix


def spread(columns: Columns, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Up to `rows` of them, evenly spread."""
    total = len(next(iter(columns.values())))
    index = np.unique(np.linspace(0, total - 1, min(rows, total)).astype(np.int64))
    return {name: column[index] for name, column in columns.items()}


def _neighbours(thresholds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    own = np.unique(thresholds)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    return np.concatenate([own, np.nextafter(own, up), np.nextafter(own, down)])


def _allowed(field: Field, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Those that an event may have."""
    allowed = (values >= field.minimum) & (values <= field.maximum)
    found: np.ndarray[Any, Any] = values[allowed | (np.isnan(values) & field.nullable)]
    return found


def _bounds(field: Field) -> np.ndarray[Any, Any]:
    return np.array([field.minimum, field.maximum], np.float64)
