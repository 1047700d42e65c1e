"""Keys as small integers, for as long as they have live cells.

Code 0 is nobody: a null key, and in a query every key without cells. Codes are handed out from
those that were freed first; when few of many are left in use, all are numbered anew, so that
what is indexed by code shrinks too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np

from lockstep.contracts import Columns

__all__ = ["NOBODY", "KeyCodes"]

NOBODY = 0
_WORTH = 4096
"""Codes below which numbering anew frees nothing to speak of."""


class KeyCodes:
    """The codes of one combination of fields: a value, or a tuple of values, each."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = tuple(fields)
        self._codes: dict[Any, int] = {}
        self._keys: list[Any] = [None]
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def capacity(self) -> int:
        """Every code is below it."""
        return len(self._keys)

    def find(self, columns: Columns) -> Any:
        """The code of each row's key."""
        keys = self._of(columns)
        return np.fromiter(map(self._codes.get, keys, repeat(NOBODY)), np.int64, len(keys))

    def assign(self, columns: Columns, rows: Any = None) -> Any:
        """The code of each row's key (of `rows` only, if given), a new one for a new key."""
        if rows is not None:
            columns = {name: columns[name][rows] for name in self._fields}
        keys = self._of(columns)
        codes = np.fromiter(map(self._codes.get, keys, repeat(-1)), np.int64, len(keys))
        for row in np.flatnonzero(codes < 0).tolist():
            codes[row] = self._add(keys[row])
        return codes

    def free(self, codes: Any) -> None:
        """The keys of these codes have no cells left. Codes that are free already are skipped."""
        for code in codes.tolist():
            key = self._keys[code]
            if key is not None:
                del self._codes[key]
                self._keys[code] = None
                self._free.append(code)

    def renumber(self) -> Any:
        """New code -> the old one, after most were freed; None while that is not worth it."""
        if self.capacity < _WORTH or self.capacity < 4 * (len(self) + 1):
            return None
        kept = sorted(self._codes.values())
        self._keys = [None, *(self._keys[code] for code in kept)]
        # A dict keeps the size it once had: a new one is needed to give memory back.
        self._codes = {key: code for code, key in enumerate(self._keys) if code}
        self._free = []
        return np.array([NOBODY, *kept], np.int64)

    def _of(self, columns: Columns) -> list[Any]:
        if len(self._fields) == 1:
            keys: list[Any] = columns[self._fields[0]].tolist()
            return keys
        return list(zip(*(columns[name].tolist() for name in self._fields), strict=True))

    def _add(self, key: Any) -> int:
        known = self._codes.get(key)
        if known is not None:
            return known
        # A null string is "" in columns; contracts allow no other empty string.
        if key == "" or (isinstance(key, tuple) and "" in key):
            return NOBODY
        if self._free:
            code = self._free.pop()
            self._keys[code] = key
        else:
            code = len(self._keys)
            self._keys.append(key)
        self._codes[key] = code
        return code
