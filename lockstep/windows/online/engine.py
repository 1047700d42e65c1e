"""Window features over live state events, in micro-batches.

1. `fold` takes in state events as they come: it leaves out wrong clocks, copies and late
   records (windows.py says in which order), and adds the rest to the cells of their keys.
2. `values` answers scored events at any time at or after what was evicted: several as-of times
   are alive at once, since nothing is advanced and a query only reads.
3. `evict` forgets what no later query can see: cells, keys without cells, identities.

State is a function of what was folded, whatever the micro-batches: folding the same log again
from `WindowSet.needed_from(earliest)` gives the same bits for events at or after `earliest`.

Windows over one source, keys and hop share their cells, and those of one value and condition
share its totals.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lockstep.contracts import Columns, honest, on_time
from lockstep.errors import ContractError
from lockstep.windows.online.cells import Cells
from lockstep.windows.online.identities import Identities
from lockstep.windows.online.keys import KeyCodes
from lockstep.windows.online.measures import Measure, is_wide, measure_of, measured
from lockstep.windows.online.totals import Kept, Totals, resolved
from lockstep.windows.semantics import WindowSet, WindowSpec, rounded

__all__ = ["Folded", "OnlineWindows"]

_EXACT = 2**53
_SUMMED = ("sum", "mean")
_STEPS = 16
"""Cells are evicted in so many steps of their longest window: each visits all keys."""


class Folded(NamedTuple):
    """What became of the records of one call."""

    counted: int
    copies: int = 0
    late: int = 0
    wrong_clock: int = 0
    old: int = 0
    """Before everything that a query can still see."""


@dataclass
class _Table:
    """The cells of one (source, by, hop), and the windows that read them."""

    source: str
    by: tuple[str, ...]
    measures: tuple[Measure, ...]
    windows: list[tuple[int, WindowSpec, int]]
    """(place among the values, window, place of its measure)."""
    longest: int
    cells: Cells
    evicted: int


class OnlineWindows:
    """The live state of one set of windows. Not for several threads at once."""

    def __init__(self, windows: WindowSet, *, complete_from: int) -> None:
        self.windows = windows
        self.complete_from = complete_from
        """Every state event at or after it has been, or will be, folded."""
        self._from = dict.fromkeys(windows.sources, complete_from)
        self._identities = {
            name: Identities(max(windows.reach(name) // _STEPS, 1_000_000))
            for name in windows.sources
        }
        self._keys = {by: KeyCodes(by) for by in sorted({w.by for w in windows.windows})}
        self._tables = [
            _table(windows, group, complete_from)
            for group in sorted({(w.source, w.by, w.hop) for w in windows.windows})
        ]

    @property
    def cells(self) -> int:
        """Live cells: buckets of keys that have events."""
        return sum(len(table.cells) for table in self._tables)

    @property
    def keys(self) -> int:
        """Keys, or combinations of keys, that have cells."""
        return sum(map(len, self._keys.values()))

    @property
    def identities(self) -> int:
        """Events that a copy would be known by."""
        return sum(map(len, self._identities.values()))

    def fold(self, source: str, columns: Columns, available_at: np.ndarray[Any, Any]) -> Folded:
        """Take in records of one source; those of one partition in the order of their offsets.

        `columns` are its contract's, of valid events. Raises KeyError for an unknown source.
        """
        about, contract = self.windows.sources[source], self.windows.contracts[source]
        times, ids = columns[contract.time], columns[contract.id]
        true_clock = honest(times, available_at, about.limits)
        recent = true_clock & (times >= self._from[source])
        rows = None if recent.all() else np.flatnonzero(recent)
        if rows is not None:
            ids, times, available_at = ids[rows], times[rows], available_at[rows]
        first = self._identities[source].first(ids, times)
        # A first copy that is late keeps later ones from counting, whenever those came.
        counts = on_time(times, available_at, about.limits)
        late = len(times) - int(np.count_nonzero(counts))
        copies = 0
        if first is not None:
            copies = len(first) - int(np.count_nonzero(first))
            late = int(np.count_nonzero(first & ~counts))
            counts &= first
        counted = int(np.count_nonzero(counts))
        if counted < len(counts):
            chosen = np.flatnonzero(counts)
            rows = chosen if rows is None else rows[chosen]
        if counted:
            if rows is not None:
                columns = {name: column[rows] for name, column in columns.items()}
            self._count(source, columns)
        wrong = len(true_clock) - int(np.count_nonzero(true_clock))
        old = len(true_clock) - wrong - int(np.count_nonzero(recent))
        return Folded(counted, copies, late, wrong, old)

    def values(self, columns: Columns, times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The window values of scored events at `times`: float32[events, windows].

        Their windows must begin at or after `complete_from`, or values are too low unnoticed.
        Raises ContractError for a sum beyond 2**53.
        """
        made = np.empty((len(times), len(self.windows)), np.float32)
        beyond: list[tuple[int, int, int]] = []
        codes = {by: keys.find(columns) for by, keys in self._keys.items()}
        for table in self._tables:
            self._read(table, codes[table.by], times, made, beyond)
        if beyond:
            _, window, total = min(beyond)
            raise ContractError(
                f"window {self.windows.names[window]}: the sum {total} is beyond 2**53, where it"
                " is not exact",
                next="a smaller scale or a shorter window",
            )
        return made

    def evict(self, before: int) -> None:
        """No later query needs state events before this time."""
        if before <= self.complete_from:
            return
        self.complete_from = before
        specs, sources = self.windows.windows, self.windows.sources
        # No event before it has all of its windows begin at `before` or later.
        earliest = max((before + w.over + sources[w.source].delay for w in specs), default=before)
        freed = set()
        for table in self._tables:
            begins = [self.windows.as_of(w, earliest) - w.over for _, w, _ in table.windows]
            begin = max(before, min(begins))
            if begin - table.evicted >= max(table.cells.hop, table.longest // _STEPS):
                table.cells.evict(begin // table.cells.hop)
                table.evicted = begin
                freed.add(table.by)
        for by in freed:
            self._free(by)
        for source in sources:
            evicted = [table.evicted for table in self._tables if table.source == source]
            self._from[source] = max(self._from[source], min(evicted, default=before))
            self._identities[source].drop(self._from[source])

    def _count(self, source: str, columns: Columns) -> None:
        """Add events that count to the cells."""
        contract = self.windows.contracts[source]
        times, ids = columns[contract.time], columns[contract.id]
        tables = [table for table in self._tables if table.source == source]
        found = {
            measure: measured(measure, contract, columns)
            for measure in dict.fromkeys(m for table in tables for m in table.measures)
        }
        for table in tables:
            measures = [found[measure] for measure in table.measures]
            # An event that no measure counts makes neither a key nor a cell.
            rows = None
            if all(each.counted is not None for each in measures):
                rows = np.flatnonzero(np.logical_or.reduce([each.counted for each in measures]))
                measures = [each.take(rows) for each in measures]
            keys = self._keys[table.by]
            codes = keys.assign(columns, rows)
            table.cells.fold(
                codes,
                times if rows is None else times[rows],
                ids if rows is None else ids[rows],
                measures,
                keys.capacity,
            )

    def _read(
        self,
        table: _Table,
        codes: Any,
        times: Any,
        made: np.ndarray[Any, Any],
        beyond: list[tuple[int, int, int]],
    ) -> None:
        """Fill in the values of the windows over one table."""
        cells, hop = table.cells, table.cells.hop
        cells.know(self._keys[table.by].capacity)
        ends = (times - self.windows.sources[table.source].delay) // hop
        last = cells.search(codes, ends)
        held = cells.at(last)
        before: dict[int, tuple[Any, list[Totals]]] = {}
        for place, window, measure in table.windows:
            now, over = held[measure], window.over // hop
            if window.agg == "last":
                seen = now.last_time >= (ends - over) * hop
                made[:, place] = rounded("last", window.scale, seen, now.last_value)
                continue
            if over not in before:
                begin = cells.search(codes, ends - over, last)
                before[over] = begin, cells.at(begin)
            begin, then = before[over][0], before[over][1][measure]
            count = now.count - then.count
            number: Any = None
            if window.agg in _SUMMED:
                number = now.total - then.total
                high = None if now.high is None else now.high - then.high
                beyond.extend(_beyond(number, high, count, place))
            elif window.agg in ("min", "max"):
                number = cells.reduced(window.agg, measure, begin, last)
            made[:, place] = rounded(window.agg, window.scale, count, number)

    def _free(self, by: tuple[str, ...]) -> None:
        """Free the codes of keys that have no cells left."""
        keys = self._keys[by]
        tables = [table.cells for table in self._tables if table.by == by]
        live = np.logical_or.reduce([cells.live(keys.capacity) for cells in tables])
        keys.free(np.flatnonzero(~live))
        kept = keys.renumber()
        if kept is not None:
            for cells in tables:
                cells.renumber(kept)


def _table(windows: WindowSet, group: tuple[str, tuple[str, ...], int], begin: int) -> _Table:
    source, by, hop = group
    chosen = [(n, w) for n, w in enumerate(windows.windows) if (w.source, w.by, w.hop) == group]
    measures = tuple(dict.fromkeys(measure_of(w) for _, w in chosen))
    kept = []
    for measure in measures:
        aggs = {w.agg for _, w in chosen if measure_of(w) == measure}
        summed = not aggs.isdisjoint(_SUMMED)
        kept.append(
            Kept(
                total=summed,
                high=summed and is_wide(measure, windows.contracts[source]),
                least="min" in aggs,
                greatest="max" in aggs,
                last="last" in aggs,
            )
        )
    return _Table(
        source,
        by,
        measures,
        [(n, w, measures.index(measure_of(w))) for n, w in chosen],
        max(w.over for _, w in chosen),
        Cells(hop, kept),
        begin,
    )


def _beyond(number: Any, high: Any, count: Any, place: int) -> Iterable[tuple[int, int, int]]:
    """(row, place, sum) of the first row whose sum is beyond 2**53, if any."""
    too_large = (number > _EXACT) | (number < -_EXACT)
    if high is not None:
        # Nearer to 0 the sum is far from 2**63, where int64 comes around.
        too_large |= np.abs(high) > _EXACT >> 25
    for row in np.flatnonzero(too_large).tolist():
        total = int(number[row])
        if high is not None:
            total = resolved(total, int(high[row]), int(count[row]))
        if abs(total) > _EXACT:
            yield row, place, total
            return
