"""What the cells of a key hold of one measure, as columns beside the cells' buckets.

`count`, `total` and `high` are running: a cell holds what its key has counted up to and with it,
so that any range of cells is the difference of two of them. `last_*` run as well: the newest
event up to and with the cell. `least` and `greatest` are of the cell alone.

Running totals may leave int64 and come around: integer arithmetic is exact modulo 2**64, so a
difference is exact wherever the true difference fits. Where values are so large that it may not
fit, `high` runs over value >> 31 and tells how far off the difference is.

All columns but the ids lie side by side in one block, a row a cell: what a key's cell holds is in
one or two cache lines, and fetching those is most of what a query costs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lockstep.windows.online.measures import Measured

__all__ = ["NEVER", "Kept", "Totals", "resolved"]

NEVER = np.iinfo(np.int64).min
"""The time of a last event that there is not, and the bucket before all others."""
_MOST = np.iinfo(np.int64).max
_HIGH = 31
_NOTHING = {"least": _MOST, "greatest": NEVER, "last_time": NEVER}


@dataclass(frozen=True)
class Kept:
    """Which columns the windows of a measure need, besides the count."""

    total: bool = False
    high: bool = False
    least: bool = False
    greatest: bool = False
    last: bool = False

    @property
    def columns(self) -> list[str]:
        """Their names, besides the count and the ids."""
        names = [name for name in ("total", "high", "least", "greatest") if getattr(self, name)]
        return [*names, *(("last_time", "last_value") if self.last else ())]

    @property
    def width(self) -> int:
        """How many columns of a block they are."""
        return 1 + len(self.columns)


@dataclass
class Totals:
    """Columns of one measure, all of one length; those that nobody needs are None."""

    count: Any
    total: Any = None
    high: Any = None
    least: Any = None
    greatest: Any = None
    last_time: Any = None
    last_value: Any = None
    last_id: Any = None

    @classmethod
    def within(cls, kept: Kept, block: Any, ids: Any) -> Totals:
        """The columns that `block`, of `kept.width` columns, and `ids` hold."""
        made = cls(block[:, 0])
        for column, name in enumerate(kept.columns, 1):
            setattr(made, name, block[:, column])
        if kept.last:
            made.last_id = ids
        return made

    @classmethod
    def nothing(cls, kept: Kept) -> list[int]:
        """A row in which nothing is counted."""
        return [0, *(_NOTHING.get(name, 0) for name in kept.columns)]

    @classmethod
    def of_rows(
        cls, kept: Kept, rows: Measured, starts: Any, size: int, times: Any, ids: Any
    ) -> Totals:
        """Cells of their own, not running: rows `starts[i]` up to the next start each.

        Rows of a cell are in the order of (time, id).
        """
        counted, numbers = rows.counted, rows.numbers
        if counted is None:
            made = cls(np.diff(starts, append=size))
        else:
            made = cls(np.add.reduceat(counted, starts, dtype=np.int64))
        if kept.total:
            made.total = np.add.reduceat(numbers, starts)
        if kept.high:
            made.high = np.add.reduceat(numbers >> _HIGH, starts)
        if kept.least:
            of = numbers if counted is None else np.where(counted, numbers, _MOST)
            made.least = np.minimum.reduceat(of, starts)
        if kept.greatest:
            of = numbers if counted is None else np.where(counted, numbers, NEVER)
            made.greatest = np.maximum.reduceat(of, starts)
        if kept.last:
            newest = np.arange(size)
            if counted is None:
                newest = np.append(starts[1:], size) - 1
            else:
                newest = np.maximum.reduceat(np.where(counted, newest, -1), starts)
            made.last_time = np.where(newest < 0, NEVER, times[newest])
            made.last_value = numbers[newest]
            made.last_id = ids[newest]
        return made

    def put(self, at: Any, other: Totals) -> None:
        """Overwrite cells."""
        for name, column in self._columns():
            column[at] = getattr(other, name)

    def take(self, at: Any) -> Totals:
        """These cells."""
        return Totals(**{name: column[at] for name, column in self._columns()})

    def own(self, before: Totals, begins: Any) -> None:
        """Make running cells cells of their own: less what the cell `before` each has.

        `begins` is the time at which each cell's bucket begins.
        """
        for name in ("count", "total", "high"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name) - getattr(before, name))
        if self.last_time is not None:
            self.last_time = np.where(self.last_time < begins, NEVER, self.last_time)

    def joined(self, other: Totals) -> Totals:
        """The cells of both, one after the other."""
        return Totals(
            **{
                name: np.concatenate([column, getattr(other, name)])
                for name, column in self._columns()
            }
        )

    def merged(self, starts: Any, size: int) -> Totals:
        """Cells of their own, of which some follow each other that are the same cell."""
        made = Totals(np.add.reduceat(self.count, starts))
        for name in ("total", "high"):
            if getattr(self, name) is not None:
                setattr(made, name, np.add.reduceat(getattr(self, name), starts))
        if self.least is not None:
            made.least = np.minimum.reduceat(self.least, starts)
        if self.greatest is not None:
            made.greatest = np.maximum.reduceat(self.greatest, starts)
        if self.last_time is not None:
            newest = np.append(starts[1:], size) - 1
            # A cell comes at most twice: from before, and from the micro-batch.
            before, after = self.last_time[starts], self.last_time[newest]
            wins = before > after
            tied = (before == after) & (before != NEVER) & (newest > starts)
            for n in np.flatnonzero(tied).tolist():
                wins[n] = self.last_id[starts[n]] > self.last_id[newest[n]]
            newest = np.where(wins, starts, newest)
            made.last_time = self.last_time[newest]
            made.last_value = self.last_value[newest]
            made.last_id = self.last_id[newest]
        return made

    def run(self, base: Totals, of: Any, firsts: Any) -> None:
        """Make cells of their own running, each key's after its `base`.

        `of` is the number of each cell's key, `firsts` the first cell of each key.
        """
        for name in ("count", "total", "high"):
            column = getattr(self, name)
            if column is not None:
                running = np.cumsum(column)
                start = getattr(base, name) + column[firsts] - running[firsts]
                setattr(self, name, running + start[of])
        if self.last_time is not None:
            none = self.last_time == NEVER
            if none.any():
                # The newest cell of the key that has one, or else what the key had before.
                from_cell = np.where(none, -1, np.arange(len(none)))
                np.maximum.accumulate(from_cell, out=from_cell)
                before = from_cell < firsts[of]
                for name in ("last_time", "last_value", "last_id"):
                    column = getattr(self, name)[from_cell]
                    column[before] = getattr(base, name)[of[before]]
                    setattr(self, name, column)

    def _columns(self) -> list[tuple[str, Any]]:
        found = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, column) for name, column in found if column is not None]


def resolved(total: int, high: int, count: int) -> int:
    """The true sum, of which `total` is right modulo 2**64: near high * 2**31 + count * 2**30."""
    near = (high << _HIGH) + (count << (_HIGH - 1))
    return total + ((near - total + 2**63) >> 64 << 64)
