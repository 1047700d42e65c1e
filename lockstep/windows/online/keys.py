"""Keys as small integers, for as long as they have live cells.

Code 0 is nobody: a null key, and in a query every key without cells. Codes are handed out from
those that were freed first; when few of many are left in use, all are numbered anew, so that
what is indexed by code shrinks too.

A hash table in arrays: all rows of a micro-batch look at their slots at once, so that memory is
waited for once and not row by row, as a dict does it. A slot holds a code, and a row is that
key's only if the stored fields are equal to its own: hashes only say where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.contracts import Columns

__all__ = ["NOBODY", "KeyCodes"]

NOBODY = 0
_FEWEST = 64
_WORTH = 4096
"""Codes below which numbering anew frees nothing to speak of."""


class KeyCodes:
    """The codes of one combination of fields."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = tuple(fields)
        # Odd factors of the fields and, for strings, of their characters, drawn for this process.
        self._factors = np.random.default_rng().integers(0, 2**63, (len(fields), 1), np.uint64)
        # By code: the fields, and whether it is in use.
        self._stored: list[Any] = []
        self._used = np.zeros(_FEWEST, bool)
        self._next = 1
        self._free: list[int] = []
        # Where to look: codes, at most half of the slots taken.
        self._bits = _FEWEST.bit_length()
        self._slots = np.zeros(1 << self._bits, np.int32)

    def __len__(self) -> int:
        return self._next - 1 - len(self._free)

    @property
    def capacity(self) -> int:
        """Every code is below it."""
        return self._next

    def find(self, columns: Columns) -> Any:
        """The code of each row's key."""
        return self._look_up(self._rows(columns, None))

    def assign(self, columns: Columns, rows: Any = None) -> Any:
        """The code of each row's key (of `rows` only, if given), a new one for a new key."""
        keys = self._rows(columns, rows)
        codes = self._look_up(keys)
        unknown = codes == NOBODY
        for column in keys:
            if column.dtype.kind == "U":
                # A null string is "" in columns; contracts allow no other empty string.
                unknown &= column != ""
        new = np.flatnonzero(unknown)
        if len(new):
            codes[new] = self._add([column[new] for column in keys])
        return codes

    def free(self, codes: Any) -> None:
        """The keys of these codes have no cells left. Codes that are free already are skipped."""
        dead = codes[self._used[codes]]
        if len(dead):
            self._used[dead] = False
            self._free.extend(dead.tolist())
            self._index()

    def renumber(self) -> Any:
        """New code -> the old one, after most were freed; None while that is not worth it."""
        if self.capacity < _WORTH or self.capacity < 4 * (len(self) + 1):
            return None
        kept = np.concatenate([[NOBODY], np.flatnonzero(self._used)])
        self._stored = [column[kept] for column in self._stored]
        self._used = np.ones(len(kept), bool)
        self._used[NOBODY] = False
        self._next, self._free = len(kept), []
        self._index()
        return kept

    def _rows(self, columns: Columns, rows: Any) -> list[Any]:
        found = []
        for name in self._fields:
            column = columns[name] if rows is None else columns[name][rows]
            # Strings of one width, filled up with NUL, which no contract lets into a string.
            found.append(np.array(column.tolist(), np.str_) if column.dtype == object else column)
        return found

    def _look_up(self, keys: list[Any]) -> Any:
        if not self._stored:
            return np.zeros(len(keys[0]), np.int64)
        mask = len(self._slots) - 1
        slots = self._hashed(keys)
        codes = self._slots.take(slots)
        wrong = np.flatnonzero(self._differ(codes, keys))
        while len(wrong):
            # Taken by another key: the next slot. An empty one says that there is no such key.
            slots[wrong] = (slots[wrong] + 1) & mask
            found = self._slots.take(slots[wrong])
            codes[wrong] = found
            wrong = wrong[self._differ(found, [column[wrong] for column in keys])]
        return codes.astype(np.int64)

    def _differ(self, codes: Any, keys: list[Any]) -> Any:
        """Where a code is of another key."""
        differ = self._stored[0].take(codes) != keys[0]
        for stored, column in zip(self._stored[1:], keys[1:], strict=True):
            differ |= stored.take(codes) != column
        return differ & (codes != NOBODY)

    def _hashed(self, keys: list[Any]) -> Any:
        """Each row's first slot. A string's does not depend on how wide its column is."""
        whole = np.zeros(len(keys[0]), np.uint64)
        for n, column in enumerate(keys):
            if column.dtype.kind != "U":
                whole += column.astype(np.uint64) * self._factor(n, 0)
                continue
            width = column.dtype.itemsize // 4
            characters = column.view(np.uint32).reshape(len(column), width)
            for place in range(width):
                whole += characters[:, place] * self._factor(n, place)
        return (whole >> np.uint64(64 - self._bits)).astype(np.int64)

    def _factor(self, field: int, place: int) -> Any:
        while place >= self._factors.shape[1]:
            more = np.random.default_rng().integers(0, 2**63, self._factors.shape, np.uint64)
            self._factors = np.concatenate([self._factors, more], axis=1)
        return self._factors[field, place] | np.uint64(1)

    def _add(self, keys: list[Any]) -> Any:
        """New codes for keys that have none; the same key may come several times."""
        fresh: dict[Any, int] = {}
        listed = [column.tolist() for column in keys]
        of = [fresh.setdefault(key, len(fresh)) for key in zip(*listed, strict=True)]
        first = np.full(len(fresh), -1, np.int64)
        first[of[::-1]] = np.arange(len(of))[::-1]
        reused = [self._free.pop() for _ in range(min(len(fresh), len(self._free)))]
        begin = self._next
        self._next += len(fresh) - len(reused)
        codes = np.array([*reused, *range(begin, self._next)], np.int64)
        self._store(codes, [column[first] for column in keys])
        if 2 * len(self) > len(self._slots):
            self._index()
        else:
            self._put(codes)
        return codes[of]

    def _store(self, codes: Any, keys: list[Any]) -> None:
        """Keep the fields of new codes, in columns that are long and wide enough."""
        size = len(self._used)
        if self._next > size:
            size = self._next * 3 // 2
            used = np.zeros(size, bool)
            used[: len(self._used)] = self._used
            self._used = used
        self._used[codes] = True
        if not self._stored:
            self._stored = [np.zeros(size, column.dtype) for column in keys]
        for n, (stored, column) in enumerate(zip(self._stored, keys, strict=True)):
            wider = np.promote_types(stored.dtype, column.dtype)
            if size > len(stored) or wider != stored.dtype:
                self._stored[n] = np.zeros(size, wider)
                self._stored[n][: len(stored)] = stored
            self._stored[n][codes] = column

    def _index(self) -> None:
        """All slots anew, for the codes in use."""
        codes = np.flatnonzero(self._used)
        self._bits = max(4 * len(codes), 2 * _FEWEST).bit_length()
        self._slots = np.zeros(1 << self._bits, np.int32)
        self._put(codes)

    def _put(self, codes: Any) -> None:
        """Into the first empty slot from where each is looked for."""
        if not len(codes):
            return
        mask = len(self._slots) - 1
        slots = self._hashed([column.take(codes) for column in self._stored])
        while len(codes):
            empty = self._slots.take(slots) == NOBODY
            self._slots[slots[empty]] = codes[empty]
            # Of several that meet in an empty slot one stays.
            left = np.flatnonzero(self._slots.take(slots) != codes)
            codes, slots = codes[left], (slots[left] + 1) & mask
