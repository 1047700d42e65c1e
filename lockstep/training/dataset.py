"""Training rows: recorded events from the lake, each with what became of it.

Their window values, where a model has windows, come from `lockstep.training.history`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import NO_LIMITS, Columns, Contract, Judge, Limits
from lockstep.errors import LakeError
from lockstep.lake import LANDED, Counted, counted, days, told_refused
from lockstep.lake import read_rows as read_rows_of
from lockstep.progress import Progress
from lockstep.training.definition import Label, Period
from lockstep.training.history import windowed_columns
from lockstep.training.joining import outcomes_of
from lockstep.training.labels import label_values
from lockstep.training.weights import Weight, weight_values
from lockstep.windows.semantics import NO_WINDOWS, WindowSet

__all__ = ["Rows", "reached", "read_rows"]

_READERS = 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled events. Events whose outcome nobody knows are left out."""

    columns: Columns
    """The contract's fields, and a float32 column for each window, by name."""
    label: np.ndarray[Any, np.dtype[np.float32]]
    unknown: int
    """Events that were left out: nobody knows what became of them."""
    early: int = 0
    """Left out: their outcome is said to have been known before they happened."""
    late: int = 0
    """Left out: their outcome came later than the label's `within`, as far as that was read."""
    weight: np.ndarray[Any, np.dtype[np.float32]] | None = None
    """How much each counts; None where all count alike."""

    def __len__(self) -> int:
        return len(self.label)

    def counts(self) -> dict[str, int]:
        """How many rows there are, and how many events were left out for which reason."""
        left_out = {"unknown": self.unknown, "early": self.early, "late": self.late}
        return {"rows": len(self)} | left_out

    def left_out(self, label: Label) -> str:
        """Why the other events are no training rows."""
        told = [f"{self.unknown:,} without"]
        if self.early:
            told.append(f"{self.early:,} whose outcome is from before them")
        if self.late:
            told.append(f"{self.late:,} whose outcome came later than within {label.within}")
        return ", ".join(told)

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
        if self.weight is not None:
            digest.update(b"\nweight\n" + self.weight.tobytes())
        return digest.hexdigest()

    def within(self, events: Contract, period: Period) -> Rows:
        """Those of a period; what was left out is told of the whole only."""
        start, until = (
            int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
            for day in (period.start, period.until)
        )
        times = self.columns[events.time]
        own = (start <= times) & (times < until)
        weight = None if self.weight is None else self.weight[own]
        columns = {name: column[own] for name, column in self.columns.items()}
        return Rows(columns, self.label[own], 0, weight=weight)


def reached(lake: str, source: str, period: Period, more: timedelta) -> list[date]:
    """The days of a period, and those after it that `more` reaches into and the lake has."""
    known = set(days(lake, source))
    return [day for day in period.days(more=more) if day < period.until or day in known]


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
    weight: Weight | None = None,
) -> Rows:
    """Read a period's events and join their labels, as `lockstep.training.joining` says.

    Events and outcomes are judged as serving judges them; how many rows were refused, and why,
    is told. `recorded` are events that were read before, with the values of `windows`: those of
    the period are taken from it. An event is left out when its outcome was not known within
    `label.within`. `weight` says how much each of the others counts.

    Outcomes are read as far after the period as `within` reaches twice: up to once they are
    labels, and beyond they are counted as late. So are the events of these days, as an outcome
    there may be of a later event with the same id.

    Raises LakeError naming the day that is missing, or when no event has a label.
    """
    read_for = 2 * label.within
    later = reached(lake, outcomes.source, period, read_for)
    after = [day for day in reached(lake, events.source, period, read_for) if day >= period.until]
    wanted = period.days() if recorded is None else []
    progress.start(
        f"read {period.start} until {period.until}", len(wanted) + len(after) + len(later)
    )
    table, refused = _read(lake, events, windows.limits, wanted, progress)
    if recorded is not None:
        table = _of_period(recorded, events, period)
    others, _ = _read(lake, events, windows.limits, after, progress)
    source = windows.sources.get(outcomes.source)
    limits = source.limits if source else NO_LIMITS
    truth, wrong = _read(lake, outcomes, limits, later, progress)
    identity = [events.id, events.time]
    owners = pa.concat_tables([table.select(identity), others.select(identity)])
    found, lag = (each[: table.num_rows] for each in outcomes_of(events, owners, outcomes, truth))
    within = label.within // timedelta(microseconds=1)
    known = (found >= 0) & (lag >= 0) & (lag <= within)
    early, late = (found >= 0) & (lag < 0), (found >= 0) & (lag > within)
    if not known.any():
        raise LakeError(
            f"none of {len(found):,} events in {events.source} has an outcome in {outcomes.source}"
            f" ({truth.num_rows:,} events) that was known within {label.within} of it"
            + (f"; {int(early.sum()):,} were known before it" if early.any() else "")
            + (f"; {int(late.sum()):,} came later" if late.any() else ""),
            next="a longer `within` of the label"
            if late.any()
            else "load the events that hold the outcome into the lake",
        )
    used = truth.take(pa.array(found[known]))
    given = _columns(outcomes, label.fields, used)
    truths = np.full(len(known), np.nan, np.float32)
    truths[known] = label_values(
        label, given, used.num_rows, secret=outcomes.are_sensitive(label.fields)
    )
    known &= ~np.isnan(truths)
    columns = windowed_columns(events, windows, table.filter(pa.array(known)))
    left_out = len(known) - int(known.sum() + early.sum() + late.sum())
    weights = None
    if weight is not None:
        known_outcomes = _columns(outcomes, weight.outcomes, truth.take(pa.array(found[known])))
        weights = weight_values(weight, (events, columns), (outcomes, known_outcomes))
    rows = Rows(columns, truths[known], left_out, int(early.sum()), int(late.sum()), weight=weights)
    told = told_refused(refused, events.source) + told_refused(wrong, outcomes.source)
    progress.finish(f"{len(rows):,} events with a known outcome, {rows.left_out(label)}{told}")
    return rows


def _read(
    lake: str,
    contract: Contract,
    limits: Limits,
    wanted: Sequence[date],
    progress: Progress,
) -> tuple[pa.Table, Counter[str]]:
    """The events of some days, and how many rows were refused, by the kind of reason."""
    refused: Counter[str] = Counter()

    def read(day: date) -> Counted:
        found = counted(read_rows_of(lake, contract, day), Judge(contract, limits))
        progress.advance()
        return found

    schema = [field.with_nullable(True) for field in contract.arrow_schema]
    tables = [pa.schema([*schema, *LANDED]).empty_table()]
    with ThreadPoolExecutor(_READERS) as pool:
        for found in pool.map(read, wanted):
            tables.append(found.table)
            refused.update(found.refused)
    return pa.concat_tables(tables), refused


def _of_period(recorded: pa.Table, events: Contract, period: Period) -> pa.Table:
    times = recorded[events.time]
    start, until = (
        pa.scalar(datetime(day.year, day.month, day.day, tzinfo=UTC), times.type)
        for day in (period.start, period.until)
    )
    return recorded.filter(pc.and_(pc.greater_equal(times, start), pc.less(times, until)))


def _columns(contract: Contract, names: Sequence[str], table: pa.Table) -> Columns:
    return {name: _plain(table[name], contract.by_name[name].kind) for name in names}


def _plain(column: pa.ChunkedArray, kind: str) -> np.ndarray[Any, Any]:
    if kind == "timestamp":
        column = column.cast(pa.int64())
    return np.asarray(column.to_numpy())
