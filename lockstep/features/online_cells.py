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

from lockstep.features.online_keys import NOBODY
from lockstep.features.online_measures import Measured
from lockstep.features.online_totals import NEVER, Kept, Totals

__all__ = ["Cells", "ranges"]

_FEWEST = 256
_RECLAIMED = 4


class Cells:
    """The live cells of one source, combination of keys and hop."""

    def __init__(self, hop: int, kept: Sequence[Kept]) -> None:
        self.hop = hop
        self._kept = tuple(kept)
        self._ordered = any(each.last for each in kept)
        self._first_bucket = NEVER
        # By code. A key without a slab shares nobody's: one sentinel, and no room behind it.
        self._start = np.zeros(1, np.int64)
        self._end = np.ones(1, np.int64)
        self._room = np.ones(1, np.int64)
        # By place in the long array.
        self._bucket = np.full(_FEWEST, NEVER)
        self.totals = [Totals.empty(each, _FEWEST) for each in kept]
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
        ends = self._end[keys]
        hit = np.flatnonzero(self._bucket[ends - 1] >= earliest)
        if not len(hit):
            return codes, buckets, totals
        keys, ends = keys[hit], ends[hit]
        keep = self.search(keys, earliest[hit]) + 1
        self._end[keys] = keep
        self._cells -= int((ends - keep).sum())
        at = ranges(keep, ends)
        taken = self._bucket[at]
        codes = np.concatenate([np.repeat(keys, ends - keep), codes])
        buckets = np.concatenate([taken, buckets])
        # Stable, so that a cell from before precedes the same one of the micro-batch.
        order = _by_two(codes, buckets, stable=True)
        codes, buckets = codes[order], buckets[order]
        starts = _starts(codes, buckets)
        begins = taken * self.hop
        totals = [
            old.own(at, begins).joined(new).take(order).merged(starts, len(codes))
            for old, new in zip(self.totals, totals, strict=True)
        ]
        return codes[starts], buckets[starts], totals

    def _append(self, codes: Any, buckets: Any, totals: list[Totals]) -> None:
        firsts = _starts(codes)
        keys = codes[firsts]
        more = np.diff(firsts, append=len(codes))
        of = np.repeat(np.arange(len(keys)), more)
        self._make_room(keys, more)
        ends = self._end[keys]
        at = np.arange(len(codes)) + (ends - firsts)[of]
        self._bucket[at] = buckets
        for into, new in zip(self.totals, totals, strict=True):
            new.run(into.take(ends - 1), of, firsts)
            into.put(at, new)
        self._end[keys] = ends + more
        self._cells += len(codes)

    # Asking.

    def search(self, codes: Any, buckets: Any, last: Any = None) -> Any:
        """Where the last cell before each bucket is; at least the key's sentinel.

        `last`: where it is at most.
        """
        at = self._start[codes]
        if last is None:
            last = self._end[codes] - 1
        if not len(at):
            return at
        step = 1 << int((last - at).max()).bit_length() >> 1
        while step:
            ahead = at + step
            np.minimum(ahead, last, out=ahead)
            np.copyto(at, ahead, where=self._bucket[ahead] < buckets)
            step >>= 1
        return at

    # Forgetting.

    def evict(self, first: int) -> None:
        """Forget cells of buckets before `first`; no query asks for them, nor are they folded."""
        self._first_bucket = first
        codes = np.flatnonzero(self._start)
        if not len(codes):
            return
        at = self.search(codes, np.int64(first))
        dropped = at - self._start[codes]
        self._start[codes] = at
        self._cells -= int(dropped.sum())
        self._left += int(dropped.sum())
        empty = codes[self._end[codes] - at == 1]
        self._left += int((self._room[empty] - self._start[empty]).sum())
        self._start[empty], self._end[empty], self._room[empty] = 0, 1, 1
        if self._left * _RECLAIMED > self._used:
            self._lay_out(0)

    def live(self, capacity: int) -> Any:
        """Which codes below `capacity` have cells."""
        self.know(capacity)
        return self._start > 0

    def renumber(self, kept: Any) -> None:
        """Code i is what code kept[i] was."""
        self.know(int(kept.max()) + 1)
        self._start, self._end = self._start[kept], self._end[kept]
        self._room = self._room[kept]

    # Space.

    def know(self, capacity: int) -> None:
        """Codes below `capacity` may be asked for; other cells may have brought them up."""
        known = len(self._start)
        if capacity > known:
            more = capacity - known
            self._start = np.concatenate([self._start, np.zeros(more, np.int64)])
            self._end = np.concatenate([self._end, np.ones(more, np.int64)])
            self._room = np.concatenate([self._room, np.ones(more, np.int64)])

    def _make_room(self, keys: Any, more: Any) -> None:
        """So that `more` cells fit behind each key's last one."""
        while True:
            full = np.flatnonzero(self._end[keys] + more > self._room[keys])
            if not len(full):
                return
            lengths = self._end[keys[full]] - self._start[keys[full]]
            sizes = lengths + more[full]
            sizes += sizes // 2
            total = int(sizes.sum())
            if self._used + total <= len(self._bucket):
                break
            # Laying out may take room from keys that had some: look again.
            self._lay_out(total)
        keys = keys[full]
        old, ends = self._start[keys], self._end[keys]
        self._left += int((self._room[keys] - old)[old > 0].sum())
        starts = self._used + np.cumsum(sizes) - sizes
        self._used += total
        source, target = ranges(old, ends), ranges(starts, starts + lengths)
        self._bucket[target] = self._bucket[source]
        for totals in self.totals:
            totals.put(target, totals.take(source))
        self._start[keys], self._end[keys] = starts, starts + lengths
        self._room[keys] = starts + sizes

    def _lay_out(self, more: int) -> None:
        """Arrays with space for `more`; all slabs anew where enough was left behind."""
        if self._left * _RECLAIMED <= self._used:
            size = max(_FEWEST, (self._used + more) * 3 // 2)
            larger = np.empty(size, np.int64)
            larger[: self._used] = self._bucket[: self._used]
            self._bucket = larger
            self.totals = [
                totals.grown(kept, size, self._used)
                for kept, totals in zip(self._kept, self.totals, strict=True)
            ]
            return
        codes = np.flatnonzero(self._start)
        old, ends = self._start[codes], self._end[codes]
        lengths = ends - old
        sizes = lengths + lengths // 4
        starts = 1 + np.cumsum(sizes) - sizes
        used = 1 + int(sizes.sum())
        size = max(_FEWEST, (used + more) * 5 // 4)
        source, target = ranges(old, ends), ranges(starts, starts + lengths)
        bucket = np.full(size, NEVER)
        bucket[target] = self._bucket[source]
        self._bucket = bucket
        moved = []
        for kept, totals in zip(self._kept, self.totals, strict=True):
            moved.append(Totals.empty(kept, size))
            moved[-1].put(target, totals.take(source))
        self.totals = moved
        self._start[codes], self._end[codes] = starts, starts + lengths
        self._room[codes] = starts + sizes
        self._used, self._left = used, 0


def _starts(*columns: Any) -> Any:
    """Where rows begin that differ from the row before."""
    change = np.ones(len(columns[0]), bool)
    np.not_equal(columns[0][1:], columns[0][:-1], out=change[1:])
    for column in columns[1:]:
        change[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(change)


def ranges(starts: Any, ends: Any) -> Any:
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
