"""What of a state event is aggregated: its scaled value, and whether it is counted at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.contracts import Columns, Contract
from lockstep.windows.semantics import Condition, WindowSpec

__all__ = ["Measure", "Measured", "is_wide", "measure_of", "measured"]

_SAFE = 2**31
"""Sums of values up to it cannot leave int64 before 2**32 events."""


@dataclass(frozen=True)
class Measure:
    """A value and a condition, shared by all windows that say the same."""

    value: str | None
    minus: str | None
    scale: int
    where: tuple[Condition, ...]


@dataclass(frozen=True)
class Measured:
    """A measure of each row of a micro-batch; `counted` None: all of them are."""

    counted: Any
    numbers: Any
    """int64, 0 where not counted; None for a measure that counts events."""

    def take(self, rows: Any) -> Measured:
        """Of these rows."""
        return Measured(
            None if self.counted is None else self.counted[rows],
            None if self.numbers is None else self.numbers[rows],
        )


def measure_of(window: WindowSpec) -> Measure:
    """The measure of a window."""
    return Measure(window.value, window.minus, window.scale, window.where)


def is_wide(measure: Measure, contract: Contract) -> bool:
    """Whether its sums could leave int64, so that their upper half is kept as well."""
    largest = 0.0
    for name in filter(None, (measure.value, measure.minus)):
        field = contract.by_name[name]
        largest += max(abs(field.minimum or 0.0), abs(field.maximum or 0.0)) * 10**measure.scale
    return largest + 1 > _SAFE


def measured(measure: Measure, contract: Contract, columns: Columns) -> Measured:
    """The measure of each row."""
    counted = _all(_true(condition, contract, columns) for condition in measure.where)
    if measure.value is None:
        return Measured(counted, None)
    numbers: Any = None
    for name in filter(None, (measure.value, measure.minus)):
        column = columns[name]
        if column.dtype == np.float64:
            null = np.isnan(column)
            if null.any():
                counted = _all((counted, ~null))
                column = np.where(null, 0.0, column)
        scaled = np.rint(column.astype(np.float64) * np.float64(10**measure.scale)).astype(np.int64)
        numbers = scaled if numbers is None else numbers - scaled
    return Measured(counted, numbers if counted is None else np.where(counted, numbers, 0))


def _all(masks: Iterable[Any]) -> Any:
    found = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else found & mask
    return None if found is None or found.all() else found


def _true(condition: Condition, contract: Contract, columns: Columns) -> Any:
    """Where the condition is true, which with a null it is not."""
    column, literal = columns[condition.field], condition.literal
    kind = contract.by_name[condition.field].kind
    if kind == "string":
        # Objects compare through Python: str with str, exactly.
        null = np.fromiter(map("".__eq__, column.tolist()), bool, len(column))
    elif kind == "number":
        null = np.isnan(column)
    else:
        null = np.zeros(len(column), bool)
    match condition.operator:
        case "is null":
            return null
        case "is not null":
            return ~null
        case "=":
            found = column == literal
        case "!=":
            found = column != literal
        case "<":
            found = column < literal
        case "<=":
            found = column <= literal
        case ">":
            found = column > literal
        case ">=":
            found = column >= literal
    return np.asarray(found, bool) & ~null
