"""What the training rows looked like: what later inputs are held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.compiled_model.manifest import ColumnProfile, Input
from lockstep.contracts import Columns, Contract
from lockstep.windows.semantics import WindowSet

__all__ = ["profile", "quantiles"]

_AT = (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1)
_FREQUENT = 10


def profile(
    contract: Contract, inputs: Sequence[Input], windows: WindowSet, columns: Columns
) -> dict[str, ColumnProfile]:
    """Of every input of the graph. A sensitive field shows its nulls only."""
    names = [*(wanted.name for wanted in inputs), *windows.names]
    hidden = {field.name for field in contract.fields if field.sensitive}
    return {name: _column(columns[name], name in hidden) for name in names}


def quantiles(values: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """At 0, 0.01, 0.25, 0.5, 0.75, 0.99 and 1; none of no values."""
    return tuple(np.quantile(values, _AT).tolist()) if len(values) else ()


def _column(column: np.ndarray[Any, Any], sensitive: bool) -> ColumnProfile:
    rows = max(len(column), 1)
    if column.dtype == object:
        count = Counter(column.tolist())
        nulls = count.pop("", 0) / rows
        if sensitive:
            return ColumnProfile(nulls)
        # By count and then by name, so that ties have one order.
        frequent = sorted(count.items(), key=lambda entry: (-entry[1], entry[0]))[:_FREQUENT]
        shares = {value: number / rows for value, number in frequent}
        return ColumnProfile(nulls, distinct=len(count), frequent=shares)
    null = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
    shown = () if sensitive else quantiles(column[~null])
    return ColumnProfile(float(null.mean()) if len(column) else 0.0, quantiles=shown)
