"""Cells: what events of one key in one hop add up to, for the windows over one source, keys, hop.

1. A cell is a bucket (event time // hop) of a key that has events; a key without events in a
   bucket has no cell there. A key's cells lie side by side, growing by bucket, in its slab of
   one long array, with room behind them. The cell before the first one is the key's sentinel:
   it has what the key counted before.
2. What cells hold is running (online_totals), so any range of buckets, of any as-of time, costs
   two binary searches among the cells of its key; all rows of a micro-batch search at once.
3. Folding adds up the micro-batch by cell and appends behind each key's last cell. Cells that
   the micro-batch hits again, and those after them, are taken off, merged and appended anew:
   events out of order cost what lies behind them, of their own keys.
4. A slab that is full moves to the end of the array, with half as much room again. Space that
   was left behind, by moves and by eviction, is reclaimed when it is a quarter of the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.windows.online.keys import NOBODY
from lockstep.windows.online.measures import Measured
from lockstep.windows.online.totals import NEVER, Kept, Totals

__all__ = ["Cells"]

_FEWEST = 256
_RECLAIMED = 4


class Cells:
    """The live cells of one source, combination of keys and hop."""

    def __init__(self, hop: int, kept: Sequence[Kept]) -> None:
        self.hop = hop
        self._kept = tuple(kept)
        self._ordered = any(each.last for each in kept)
        self._first_bucket = NEVER
        self._widths = np.cumsum([0, *(each.width for each in kept)]).tolist()
        # By code: where its sentinel is, where its cells end, where its room ends. A key without
        # a slab shares nobody's: one sentinel, and no room behind it.
        self._slabs = np.array([[0, 1, 1]])
        # By place in the long array: the bucket, which is searched, and apart from it the columns
        # of each measure.
        self._bucket = np.full(_FEWEST, NEVER)
        self._nothing = [n for each in kept for n in Totals.nothing(each)]
        self._block = np.array([self._nothing] * _FEWEST)
        self._ids = [np.full(_FEWEST, None, object) if each.last else None for each in kept]
        self._used = 1
        self._left = 0
        self._cells = 0

    def __len__(self) -> int:
        return self._cells

    # Folding.

    def fold(
        self, codes: Any, times: Any, ids: Any, measures: Sequence[Measured], capacity: int
    ) -> None:
        """Add events. Codes are below `capacity`; those of nobody are left out."""
        buckets = times // self.hop
        wanted = codes != NOBODY
        if self._first_bucket != NEVER:
            wanted &= buckets >= self._first_bucket
        if not wanted.all():
            rows = np.flatnonzero(wanted)
            codes, buckets, times, ids = codes[rows], buckets[rows], times[rows], ids[rows]
            measures = [measure.take(rows) for measure in measures]
        if not len(codes):
            return
        self.know(capacity)
        order = _by_two(codes, times if self._ordered else buckets)
        if self._ordered:
            order = _ties_by_id(order, codes, times, ids)
        codes, buckets, times, ids = codes[order], buckets[order], times[order], ids[order]
        starts = _starts(codes, buckets)
        size = len(codes)
        totals = [
            Totals.of_rows(kept, measure.take(order), starts, size, times, ids)
            for kept, measure in zip(self._kept, measures, strict=True)
        ]
        codes, buckets = codes[starts], buckets[starts]
        firsts = _starts(codes)
        codes, buckets, totals = self._with_hit(codes, buckets, totals, firsts)
        self._append(codes, buckets, totals)

    def _with_hit(
        self, codes: Any, buckets: Any, totals: list[Totals], firsts: Any
    ) -> tuple[Any, Any, list[Totals]]:
        """New cells, merged with the cells from each key's first new one on, which are taken."""
        keys, earliest = codes[firsts], buckets[firsts]
        ends = self._slabs[keys, 1]
        hit = np.flatnonzero(self._bucket[ends - 1] >= earliest)
        if not len(hit):
            return codes, buckets, totals
        keys, ends = keys[hit], ends[hit]
        keep = self.search(keys, earliest[hit]) + 1
        self._slabs[keys, 1] = keep
        self._cells -= int((ends - keep).sum())
        at = _ranges(keep, ends)
        taken, known, before = self._bucket[at], self.at(at, ids=True), self.at(at - 1)
        codes = np.concatenate([np.repeat(keys, ends - keep), codes])
        buckets = np.concatenate([taken, buckets])
        # Stable, so that a cell from before precedes the same one of the micro-batch.
        order = _by_two(codes, buckets, stable=True)
        codes, buckets = codes[order], buckets[order]
        starts = _starts(codes, buckets)
        merged = []
        for old, ahead, new in zip(known, before, totals, strict=True):
            old.own(ahead, taken * self.hop)
            merged.append(old.joined(new).take(order).merged(starts, len(codes)))
        return codes[starts], buckets[starts], merged

    def _append(self, codes: Any, buckets: Any, totals: list[Totals]) -> None:
        firsts = _starts(codes)
        keys = codes[firsts]
        more = np.diff(firsts, append=len(codes))
        of = np.repeat(np.arange(len(keys)), more)
        self._make_room(keys, more)
        ends = self._slabs[keys, 1]
        at = np.arange(len(codes)) + (ends - firsts)[of]
        self._bucket[at] = buckets
        bases = self.at(ends - 1, ids=True)
        for into, base, new in zip(
            self._within(self._block, self._ids), bases, totals, strict=True
        ):
            new.run(base, of, firsts)
            into.put(at, new)
        self._slabs[keys, 1] = ends + more
        self._cells += len(codes)

    # Asking.

    def search(self, codes: Any, buckets: Any, last: Any = None) -> Any:
        """Where the last cell before each bucket is; at least the key's sentinel.

        `last`: where it is at most.
        """
        slabs = self._slabs.take(codes, axis=0)
        at = slabs[:, 0].copy()
        if last is None:
            last = slabs[:, 1] - 1
        if not len(at):
            return at
        step = 1 << int((last - at).max()).bit_length() >> 1
        while step:
            ahead = at + step
            np.minimum(ahead, last, out=ahead)
            np.copyto(at, ahead, where=self._bucket.take(ahead) < buckets)
            step >>= 1
        return at

    def at(self, places: Any, *, ids: bool = False) -> list[Totals]:
        """What the cells at these places hold, of each measure; ids of last events if asked."""
        found = [None if c is None or not ids else c.take(places) for c in self._ids]
        return self._within(self._block.take(places, axis=0), found)

    def reduced(self, agg: str, measure: int, begin: Any, last: Any) -> Any:
        """The least or the greatest of the cells after `begin` up to `last`; of none, anything."""
        totals = self._within(self._block, self._ids)[measure]
        ufunc, column = {
            "min": (np.minimum, totals.least),
            "max": (np.maximum, totals.greatest),
        }[agg]
        made = np.zeros(len(begin), np.int64)
        some = np.flatnonzero(last > begin)
        if len(some):
            begin, last = begin[some], last[some]
            lengths = last - begin
            at = _ranges(begin + 1, last + 1)
            made[some] = ufunc.reduceat(column[at], np.cumsum(lengths) - lengths)
        return made

    # Forgetting.

    def evict(self, first: int) -> None:
        """Forget cells of buckets before `first`; no query asks for them, nor are they folded."""
        self._first_bucket = first
        codes = np.flatnonzero(self._slabs[:, 0])
        if not len(codes):
            return
        at = self.search(codes, np.int64(first))
        slabs = self._slabs.take(codes, axis=0)
        dropped = int((at - slabs[:, 0]).sum())
        self._cells -= dropped
        slabs[:, 0] = at
        empty = slabs[:, 1] - at == 1
        self._left += dropped + int((slabs[empty, 2] - at[empty]).sum())
        slabs[empty] = (0, 1, 1)
        self._slabs[codes] = slabs
        if self._left * _RECLAIMED > self._used:
            self._lay_out(0)

    def live(self, capacity: int) -> Any:
        """Which codes below `capacity` have cells."""
        self.know(capacity)
        return self._slabs[:capacity, 0] > 0

    def renumber(self, kept: Any) -> None:
        """Code i is what code kept[i] was."""
        self.know(int(kept.max()) + 1)
        self._slabs = self._slabs[kept]

    # Space.

    def know(self, capacity: int) -> None:
        """Codes below `capacity` may be asked for; other cells may have brought them up."""
        known = len(self._slabs)
        if capacity > known:
            slabs = np.empty((capacity + known // 4, 3), np.int64)
            slabs[:known], slabs[known:] = self._slabs, (0, 1, 1)
            self._slabs = slabs

    def _within(self, block: Any, ids: Any) -> list[Totals]:
        return [
            Totals.within(kept, block[:, begin:end], column)
            for kept, begin, end, column in zip(
                self._kept, self._widths, self._widths[1:], ids, strict=False
            )
        ]

    def _make_room(self, keys: Any, more: Any) -> None:
        """So that `more` cells fit behind each key's last one."""
        while True:
            slabs = self._slabs[keys]
            full = np.flatnonzero(slabs[:, 1] + more > slabs[:, 2])
            if not len(full):
                return
            old, ends, rooms = slabs[full].T
            lengths = ends - old
            sizes = lengths + more[full]
            sizes += (sizes + 1) // 2
            total = int(sizes.sum())
            if self._used + total <= len(self._bucket):
                break
            # Laying out may take room from keys that had some: look again.
            self._lay_out(total)
        self._left += int((rooms - old)[old > 0].sum())
        starts = self._used + np.cumsum(sizes) - sizes
        self._used += total
        source, target = _ranges(old, ends), _ranges(starts, starts + lengths)
        self._bucket[target] = self._bucket[source]
        self._block[target] = self._block.take(source, axis=0)
        for column in self._ids:
            if column is not None:
                column[target] = column[source]
        self._slabs[keys[full]] = np.stack([starts, starts + lengths, starts + sizes], axis=1)

    def _lay_out(self, more: int) -> None:
        """Arrays with space for `more`; all slabs anew where enough was left behind."""
        source: Any = slice(0, self._used)
        target: Any = source
        size = (self._used + more) * 3 // 2
        if self._left * _RECLAIMED > self._used:
            codes = np.flatnonzero(self._slabs[:, 0])
            old, ends, _ = self._slabs[codes].T
            lengths = ends - old
            sizes = lengths + (lengths + 3) // 4
            starts = 1 + np.cumsum(sizes) - sizes
            source, target = _ranges(old, ends), _ranges(starts, starts + lengths)
            self._slabs[codes] = np.stack([starts, starts + lengths, starts + sizes], axis=1)
            self._used, self._left = 1 + int(sizes.sum()), 0
            size = (self._used + more) * 5 // 4
        size = max(_FEWEST, size)
        # What is not written is not resident: arrays may be larger than what they hold.
        bucket, block = np.empty(size, np.int64), np.empty((size, len(self._nothing)), np.int64)
        bucket[0], block[0] = NEVER, self._nothing
        bucket[target], block[target] = self._bucket[source], self._block[source]
        self._bucket, self._block = bucket, block
        for n, column in enumerate(self._ids):
            if column is not None:
                ids: Any = np.full(size, None, object)
                ids[target] = column[source]
                self._ids[n] = ids


def _starts(*columns: Any) -> Any:
    """Where rows begin that differ from the row before."""
    change = np.ones(len(columns[0]), bool)
    np.not_equal(columns[0][1:], columns[0][:-1], out=change[1:])
    for column in columns[1:]:
        change[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(change)


def _ranges(starts: Any, ends: Any) -> Any:
    """All of starts[0]..ends[0]-1, then of the next range."""
    lengths = ends - starts
    total = int(lengths.sum())
    offsets = np.cumsum(lengths) - lengths
    return np.arange(total) + np.repeat(starts - offsets, lengths)


def _by_two(codes: Any, others: Any, *, stable: bool = False) -> Any:
    """The order by code, then by the other; as one integer where it fits into one."""
    kind: Any = "stable" if stable else None
    lowest = int(others.min())
    bits = (int(others.max()) - lowest).bit_length()
    if bits + int(codes.max()).bit_length() > 62:
        return np.lexsort((others, codes))
    return np.argsort((codes << bits) | (others - lowest), kind=kind)


def _ties_by_id(order: Any, codes: Any, times: Any, ids: Any) -> Any:
    """The order by code and time, with rows of the same ones by id."""
    codes, times = codes[order], times[order]
    same = (codes[1:] == codes[:-1]) & (times[1:] == times[:-1])
    if not same.any():
        return order
    tied = np.zeros(len(order), bool)
    tied[1:] = same
    tied[:-1] |= same
    places = np.flatnonzero(tied)
    rows = order[places]
    # Python orders str by code points, which is the order of their UTF-8 bytes.
    keys = zip(codes[places].tolist(), times[places].tolist(), ids[rows].tolist(), strict=True)
    ranked = sorted(zip(keys, rows.tolist(), strict=True))
    order[places] = [row for _, row in ranked]
    return order
