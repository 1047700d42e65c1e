"""Which state events have been folded already, so that a copy is counted once.

1. An identity is (id, event time). Identities lie in one dict per span of event time, id -> time,
   so that a whole span is dropped at once when no query can see it any more.
2. A micro-batch without a known id is taken in by dict operations alone. Only where an id comes
   again, times are compared one by one.
3. The same id at another time of the same span is another event; such times lie in a set aside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Identities"]

_FEW = 16
"""Spans of a micro-batch that are worth splitting it."""


class Identities:
    """The identities of one source, in spans of `span` microseconds."""

    def __init__(self, span: int) -> None:
        self._span = span
        self._times: dict[int, dict[str, int]] = {}
        self._more: dict[int, set[tuple[str, int]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._times.values())) + sum(map(len, self._more.values()))

    def first(self, ids: np.ndarray[Any, Any], times: np.ndarray[Any, Any]) -> Any:
        """Which of the events, in this order, come for the first time; they are known then.

        None when all do.
        """
        spans = times // self._span
        found = np.unique(spans).tolist() if len(spans) else []
        copies: list[int] = []
        if len(found) == 1:
            self._add(found[0], ids.tolist(), times.tolist(), range(len(ids)), copies)
        elif len(found) <= _FEW:
            for span in found:
                rows = np.flatnonzero(spans == span)
                self._add(span, ids[rows].tolist(), times[rows].tolist(), rows, copies)
        else:
            each = zip(spans.tolist(), ids.tolist(), times.tolist(), strict=True)
            copies = [row for row, (span, *one) in enumerate(each) if not self._new(span, *one)]
        if not copies:
            return None
        first = np.ones(len(ids), bool)
        first[copies] = False
        return first

    def drop(self, before: int) -> None:
        """Forget spans that end before or at `before`: their events are not folded any more."""
        for span in [span for span in self._times if (span + 1) * self._span <= before]:
            del self._times[span]
            self._more.pop(span, None)

    def _add(
        self, span: int, ids: list[str], times: list[int], rows: Any, copies: list[int]
    ) -> None:
        known = self._times.setdefault(span, {})
        fresh = dict(zip(ids, times, strict=True))
        if len(fresh) == len(ids) and known.keys().isdisjoint(fresh):
            known.update(fresh)
            return
        for row, id, time in zip(rows, ids, times, strict=True):
            if not self._new(span, id, time):
                copies.append(int(row))

    def _new(self, span: int, id: str, time: int) -> bool:
        known = self._times.setdefault(span, {})
        at = known.get(id)
        if at is None:
            known[id] = time
            return True
        if at == time:
            return False
        more = self._more.setdefault(span, set())
        if (id, time) in more:
            return False
        more.add((id, time))
        return True
