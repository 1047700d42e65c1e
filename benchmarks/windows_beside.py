"""The same windows as one would write them with what there is; run by benchmarks/windows.py.

Both answer less: no delay, no copies left out, no late events, floats instead of exact sums.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from lockstep.contracts import Columns
from lockstep.windows.semantics import WindowSet

__all__ = ["FaustHopping", "RiverRolling"]

_EPOCH = datetime(1970, 1, 1)
"""Without a zone, as river wants its times."""


class FaustHopping:
    """Stock hopping tables in memory; their changelog, which needs a broker, is cut off."""

    name = "faust_hopping"

    def __init__(self, windows: WindowSet) -> None:
        import faust
        from faust import streams

        app = faust.App("windows", broker="memory://", store="memory://")
        self._event = streams._current_event
        self._windows = windows.windows
        self._tables: list[Any] = []
        sent: Any = SimpleNamespace(message=SimpleNamespace(partition=0))
        for window in windows.windows:
            table = app.Table(window.name, default=lambda: (0, 0.0), use_partitioner=True)
            table.send_changelog = lambda *_, **__: sent  # type: ignore[assignment, method-assign, misc]
            over, hop = (timedelta(microseconds=us) for us in (window.over, window.hop))
            # The newest value is a plain table's: a hopping one would write it 144 times.
            last = window.agg == "last"
            self._tables.append(table if last else table.hopping(over, hop, expires=over * 2))

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be run, if so."""
        return None if importlib.util.find_spec("faust") else "faust cannot be imported"

    def fold(self, source: str, columns: Columns) -> None:
        """Each event into each table."""
        for row, at in enumerate((columns["at"] / 1e6).tolist()):
            self._happens(at)
            value = columns["delay"][row]
            for window, table in zip(self._windows, self._tables, strict=True):
                if window.source != source:
                    continue
                key = columns[window.by[0]][row]
                if window.agg == "last":
                    table[key] = (1, value)
                else:
                    # It writes every one of the windows that the event is in: over / hop.
                    table[key].apply(_add, value)

    def values(self, columns: Columns) -> list[Any]:
        """The newest whole window of each key."""
        found = []
        for row, at in enumerate((columns["at"] / 1e6).tolist()):
            self._happens(at)
            for window, table in zip(self._windows, self._tables, strict=True):
                key = columns[window.by[0]][row]
                if window.agg == "last":
                    found.append(table[key])
                else:
                    found.append(table[key].current())
        return found

    def _happens(self, at: float) -> None:
        # Tables ask the event of the stream that they are used in for its time.
        event: Any = SimpleNamespace(message=SimpleNamespace(partition=0, timestamp=at))
        self._event.set(lambda: event)  # type: ignore[arg-type]


def _add(known: tuple[int, float], value: float) -> tuple[int, float]:
    return known[0] + 1, known[1] + value


class RiverRolling:
    """River's statistics over a rolling period, one a window and key."""

    name = "river"

    def __init__(self, windows: WindowSet) -> None:
        from river import stats, utils

        self._windows = windows.windows
        kinds = {"mean": stats.Mean, "count": stats.Sum}
        self._last: dict[str, dict[str, float]] = defaultdict(dict)
        self._rolling = {
            window.name: defaultdict(
                lambda kind=kinds[window.agg], over=window.over: utils.TimeRolling(  # type: ignore[misc]
                    kind(), period=timedelta(microseconds=over)
                )
            )
            for window in windows.windows
            if window.agg in kinds
        }

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be run, if so."""
        if importlib.util.find_spec("river"):
            return None
        return "it is no dependency; uv run --with river python -m benchmarks.windows"

    def fold(self, source: str, columns: Columns) -> None:
        """Each event into each statistic."""
        for row, at in enumerate(columns["at"].tolist()):
            moment = _EPOCH + timedelta(microseconds=at)
            delay = float(columns["delay"][row])
            for window in self._windows:
                if window.source != source:
                    continue
                key = columns[window.by[0]][row]
                if window.agg == "last":
                    self._last[window.name][key] = delay
                else:
                    value = 1.0 if window.agg == "count" else delay
                    self._rolling[window.name][key].update(value, t=moment)

    def values(self, columns: Columns) -> list[Any]:
        """Each statistic as it is."""
        found: list[Any] = []
        for row in range(len(columns["at"])):
            for window in self._windows:
                key = columns[window.by[0]][row]
                if window.agg == "last":
                    found.append(self._last[window.name].get(key))
                else:
                    found.append(self._rolling[window.name][key].get())
        return found
