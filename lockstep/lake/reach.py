"""Which days of the lake a scored day depends on: its own, and those that its windows see.

A day of state that is missing is an error, not an empty day: nobody could tell the two apart
later. Where nothing happened on a day, an empty file says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from lockstep.contracts import Contract
from lockstep.errors import LakeError
from lockstep.lake.footers import open_parquet, reading
from lockstep.lake.layout import fingerprint, open_lake, partition_files
from lockstep.windows.semantics import WindowSet

__all__ = ["input_fingerprint", "require_columns", "state_days", "state_files"]

_READERS = 4


def state_days(windows: WindowSet, days: Sequence[date]) -> dict[str, list[date]]:
    """For each source the days that windows of events of `days` may see, ascending."""
    return {
        source: sorted({seen for day in days for seen in windows.days(source, day, day)})
        for source in windows.sources
    }


def state_files(lake: str, windows: WindowSet, days: Sequence[date]) -> dict[str, list[str]]:
    """For each source the files of these days, below the lake's root.

    Raises LakeError naming the source and the day that is missing, or the file that lacks a
    column of the source's contract or has it in another type.
    """
    found = {
        source: [path for day in wanted for path in _files(lake, windows, source, day, days)]
        for source, wanted in state_days(windows, days).items()
    }
    for source, paths in found.items():
        require_columns(lake, windows.contracts[source], paths)
    return found


def require_columns(lake: str, contract: Contract, paths: Sequence[str]) -> None:
    """Look at the files' footers, before Spark does. Raises LakeError, see `footers`."""
    system, root = open_lake(lake)

    def look(path: str) -> None:
        with reading(system, path, contract):
            open_parquet(system, root, path, contract)

    with ThreadPoolExecutor(_READERS) as pool:
        for _ in pool.map(look, paths):
            pass


def input_fingerprint(lake: str, source: str, day: date, windows: WindowSet) -> str:
    """sha256 (hex) over everything that the values of one scored day are made of.

    Without windows the fingerprint of the day itself. Raises LakeError naming what is missing.
    """
    own = fingerprint(lake, source, day)
    if not windows:
        return own
    whole = hashlib.sha256(f"{own}\n".encode())
    for name, wanted in state_days(windows, [day]).items():
        for seen in wanted:
            _files(lake, windows, name, seen, [day])
            whole.update(f"{name}\0{seen}\0{fingerprint(lake, name, seen)}\n".encode())
    return whole.hexdigest()


def _files(
    lake: str, windows: WindowSet, source: str, day: date, days: Sequence[date]
) -> list[str]:
    try:
        return partition_files(lake, source, day)
    except LakeError as error:
        names = [window.name for window in windows.windows if window.source == source]
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        scored = f"{days[0]}" if len(days) == 1 else f"{min(days)} to {max(days)}"
        raise LakeError(
            f"windows over {source} ({some}) of the events of {scored} see {source}/date={day}:"
            f" {error.message}",
            left=error.left,
            next=f"load {source} of {day} into the lake; where nothing happened on that day, an"
            " empty file says so",
        ) from None
