"""Recorded events with the window values that they would have had live.

The worker's own engine says what a training row saw: state events are folded day by day, in the
order of their days, and each day's scored events look. Spark's values are the same, bit for bit
(tests/parity), but starting it costs more than folding a year here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import Columns, Contract, Judge, Limits, columns_from_arrow
from lockstep.lake import (
    LANDED,
    Counted,
    counted,
    read_rows,
    state_days,
    state_files,
    told_refused,
)
from lockstep.progress import Progress
from lockstep.settings import Settings
from lockstep.training.decimals import Decimals
from lockstep.windows.online import OnlineWindows
from lockstep.windows.semantics import VALUES, WindowSet, epoch_micros

__all__ = ["read_windowed", "windowed_columns"]

_READERS = 2


def read_windowed(
    settings: Settings,
    contract: Contract,
    windows: WindowSet,
    days: Sequence[date],
    progress: Progress,
    *,
    decimals: Decimals | None = None,
) -> pa.Table:
    """The events of `days` in order of (event time, id), with `window_values`.

    Events and state are judged as a worker judges them, before the first copy of each is taken;
    how many rows were refused, and why, is told. `decimals` is shown the state that is folded.

    Raises LakeError for a day that is missing, ContractError for a sum that is beyond 2**53.
    """
    progress.start(f"compute {len(windows)} windows of {len(days)} days", len(days))
    state_files(settings.lake, windows, days)
    days = sorted(days)
    online = OnlineWindows(windows, complete_from=-(2**62))
    unfolded = {
        source: _read_ahead(
            settings.lake, windows.contracts[source], windows.sources[source].limits, wanted
        )
        for source, wanted in state_days(windows, days).items()
    }
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    waiting = {source: next(records, None) for source, records in unfolded.items()}
    tables = []
    for day, read in _read_ahead(settings.lake, contract, windows.limits, days):
        for source, records in unfolded.items():
            last = max(windows.days(source, day, day))
            while (found := waiting[source]) is not None and found[0] <= last:
                _fold(online, source, found[1].table, decimals)
                refused[f"{source} as state"].update(found[1].refused)
                waiting[source] = next(records, None)
        table = read.table
        refused[contract.source].update(read.refused)
        columns = columns_from_arrow(contract, table)
        values = online.values(columns, columns[contract.time])
        flat = pa.array(values.reshape(-1))
        made = pa.FixedSizeListArray.from_arrays(flat, len(windows))
        tables.append(table.select(contract.arrow_schema.names).append_column(VALUES, made))
        online.evict(windows.needed_from(epoch_micros(datetime.combine(day, time(), UTC))))
        progress.advance()
    table = pa.concat_tables(tables)
    table = table.sort_by([(contract.time, "ascending"), (contract.id, "ascending")])
    told = "".join(told_refused(kinds, source) for source, kinds in refused.items())
    progress.finish(f"{table.num_rows:,} events with {len(windows)} windows{told}")
    return table


def windowed_columns(contract: Contract, windows: WindowSet, table: pa.Table) -> Columns:
    """The contract's columns of a table of `read_windowed`, and one float32 column a window."""
    columns = columns_from_arrow(contract, table)
    if not windows:
        return columns
    values = table.column(VALUES).combine_chunks()
    matrix = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), len(windows))
    return columns | {
        name: matrix[:, position].copy() for position, name in enumerate(windows.names)
    }


def _read_ahead(
    lake: str, contract: Contract, limits: Limits, days: Sequence[date]
) -> Iterator[tuple[date, Counted]]:
    """Each day's events, judged and each once; read in advance."""

    def read(day: date) -> tuple[date, Counted]:
        return day, counted(read_rows(lake, contract, day), Judge(contract, limits))

    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(read, days)


def _fold(online: OnlineWindows, source: str, table: pa.Table, decimals: Decimals | None) -> None:
    contract = online.windows.contracts[source]
    columns = columns_from_arrow(contract, table)
    if decimals is not None:
        decimals.look(source, columns)
    times = table[contract.time].cast(pa.int64())
    available_at = pc.coalesce(table[LANDED.names[0]].cast(pa.int64()), times)
    online.fold(source, columns, available_at.to_numpy().astype(np.int64))
