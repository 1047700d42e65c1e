"""Training rows: recorded events from the lake, each with what became of it.

Their window values, where a model has windows, come from `lockstep.training.history`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import Columns, Contract
from lockstep.errors import LakeError
from lockstep.features.windows import NO_WINDOWS, WindowSet
from lockstep.lake import days, read_partition
from lockstep.progress import Progress
from lockstep.training.definition import Label, Period
from lockstep.training.history import windowed_columns

__all__ = ["Rows", "label_days", "read_rows"]

_READERS = 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled events. Events whose outcome nobody knows are left out."""

    columns: Columns
    """The contract's fields, and a float32 column for each window, by name."""
    label: np.ndarray[Any, np.dtype[np.float32]]
    unknown: int
    """Events that were left out."""

    def __len__(self) -> int:
        return len(self.label)

    def fingerprint(self) -> str:
        """sha256 over the values, whatever files they came in."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            column = self.columns[name]
            digest.update(f"\n{name}\n".encode())
            if column.dtype == object:
                # No contract's string has a NUL, so this text has one reading only.
                digest.update("\0".join(column.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(column).tobytes())
        digest.update(self.label.tobytes())
        return digest.hexdigest()


def label_days(lake: str, label: Label, source: str, period: Period) -> list[date]:
    """The days of the label's table that may hold the truth about events of `period`.

    Every day of the period itself, and of the days after it those that the lake has.
    """
    known = set(days(lake, source))
    return [day for day in period.days(more=label.within) if day < period.until or day in known]


def read_rows(
    lake: str,
    events: Contract,
    outcomes: Contract,
    label: Label,
    period: Period,
    progress: Progress,
    *,
    windows: WindowSet = NO_WINDOWS,
    recorded: pa.Table | None = None,
) -> Rows:
    """Read a period's events and join their labels by id.

    `recorded` are events that were read before, with the values of `windows`: those of the
    period are taken from it. An event is left out when nobody knows its label.

    Raises LakeError naming the day that is missing, or when no event has a label.
    """
    later = label_days(lake, label, outcomes.source, period)
    wanted = period.days() if recorded is None else []
    progress.start(f"read {period.start} until {period.until}", len(wanted) + len(later))
    if recorded is None:
        table = _read(lake, events, wanted, None, progress)
    else:
        table = _of_period(recorded, events, period)
    truth = _read(lake, outcomes, later, [*label.fields, outcomes.id], progress)
    found = pc.index_in(
        table[events.id].combine_chunks(), truth[outcomes.id].combine_chunks()
    ).to_numpy(zero_copy_only=False)
    known = ~np.isnan(found) if found.dtype.kind == "f" else np.ones(len(found), bool)
    if not known.any():
        raise LakeError(
            f"none of {len(found):,} events in {events.source} has an outcome in {outcomes.source}"
            f" ({truth.num_rows:,} events)",
            next="load the events that hold the outcome into the lake",
        )
    narrow = [outcomes.by_name[name] for name in label.fields]
    values = label.of({f.name: _plain(truth[f.name], f.kind) for f in narrow})
    truths = np.full(len(known), np.nan, np.float32)
    truths[known] = values[found[known].astype(np.int64)]
    known &= ~np.isnan(truths)
    columns = windowed_columns(events, windows, table.filter(pa.array(known)))
    rows = Rows(columns, truths[known], int((~known).sum()))
    progress.finish(f"{len(rows):,} events with a known outcome, {rows.unknown:,} without")
    return rows


def _read(
    lake: str,
    contract: Contract,
    wanted: Sequence[date],
    columns: Sequence[str] | None,
    progress: Progress,
) -> pa.Table:
    def read(day: date) -> pa.Table:
        table = read_partition(lake, contract, day, columns)
        progress.advance()
        return table

    with ThreadPoolExecutor(_READERS) as pool:
        return pa.concat_tables(pool.map(read, wanted))


def _of_period(recorded: pa.Table, events: Contract, period: Period) -> pa.Table:
    times = recorded[events.time]
    start, until = (
        pa.scalar(datetime(day.year, day.month, day.day, tzinfo=UTC), times.type)
        for day in (period.start, period.until)
    )
    return recorded.filter(pc.and_(pc.greater_equal(times, start), pc.less(times, until)))


def _plain(column: pa.ChunkedArray, kind: str) -> np.ndarray[Any, Any]:
    if kind == "timestamp":
        column = column.cast(pa.int64())
    return np.asarray(column.to_numpy())
