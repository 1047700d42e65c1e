"""How many decimals values have, and what a window's scale makes of them.

A window's value is given as float32, so that is how finely two values are told apart here:
14.49 has two decimals, whatever binary fraction stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lockstep.contracts import Columns, Contract, Judge
from lockstep.lake import counted, days, read_rows
from lockstep.training.definition import Period
from lockstep.windows.semantics import MOST_SCALE, WindowSet

__all__ = ["Decimals", "Rounded", "decimals", "recorded_decimals"]

Floats = np.ndarray[Any, Any]


def decimals(values: Floats) -> int | None:
    """The scale that keeps every one of these float64 values; None where 9 is not enough."""
    left = values[np.isfinite(values)]
    for scale in range(MOST_SCALE + 1):
        left = left[~_kept(left, scale)]
        if not len(left):
            return scale
    return None


def recorded_decimals(lake: str, period: Period, contract: Contract, field: str) -> int | None:
    """The scale that keeps a field's recorded values of a period; None where nobody knows one."""
    most: int | None = None
    for day in days(lake, contract.source):
        if period.start <= day < period.until:
            column = counted(read_rows(lake, contract, day), Judge(contract)).table[field]
            found = decimals(column.cast(pa.float64()).to_numpy())
            if found is None:
                return None
            most = max(found, most or 0)
    return most


@dataclass(frozen=True)
class Rounded:
    """Values of a field that have more decimals than the windows over it let count."""

    source: str
    field: str
    scale: int
    windows: tuple[str, ...]
    values: int
    """All that were looked at; nulls are none."""
    rounded: int
    example: float
    needed: int | None
    """The scale that keeps all of them; None where 9 is not enough."""

    def __str__(self) -> str:
        counts_as = np.rint(self.example * 10.0**self.scale) / 10.0**self.scale
        keeps = (
            f"scale={self.needed} keeps them"
            if self.needed is not None
            else f"no scale up to {MOST_SCALE} keeps them all"
        )
        return (
            f"{self.rounded:,} of {self.values:,} values of {self.field} in {self.source} have more"
            f" than {self.scale} decimals, and count rounded ({self.example:.9g} counts as"
            f" {counts_as:.9g}) in {', '.join(self.windows)}; {keeps}"
        )


@dataclass
class _Count:
    windows: list[str]
    values: int = 0
    rounded: int = 0
    example: float = 0.0
    needed: int | None = 0


class Decimals:
    """Looks at the state that windows aggregate, and counts the values that they round."""

    def __init__(self, windows: WindowSet) -> None:
        self._counts: dict[tuple[str, str, int], _Count] = {}
        for window in windows.windows:
            contract = windows.contracts[window.source]
            for name in (window.value, window.minus):
                if name and window.agg != "count" and contract.by_name[name].kind == "number":
                    place = (window.source, name, window.scale)
                    self._counts.setdefault(place, _Count([])).windows.append(window.name)

    def look(self, source: str, columns: Columns) -> None:
        """Count the values of some valid events of a source."""
        for (of, name, scale), count in self._counts.items():
            if of != source:
                continue
            values = columns[name][np.isfinite(columns[name])]
            lost = values[~_kept(values, scale)]
            count.values += len(values)
            if not len(lost):
                continue
            if not count.rounded:
                count.example = float(lost[0])
            count.rounded += len(lost)
            if count.needed is not None:
                found = decimals(lost)
                count.needed = None if found is None else max(found, count.needed)

    def rounded(self) -> Iterator[Rounded]:
        """What was rounded so far, a field and a scale each."""
        for (source, name, scale), count in self._counts.items():
            if count.rounded:
                yield Rounded(
                    source,
                    name,
                    scale,
                    tuple(dict.fromkeys(count.windows)),
                    count.values,
                    count.rounded,
                    count.example,
                    count.needed,
                )


def _kept(values: Floats, scale: int) -> Any:
    unit = np.float64(10**scale)
    return (np.rint(values * unit) / unit).astype(np.float32) == values.astype(np.float32)
