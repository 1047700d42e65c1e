"""Recorded events into the lake, by the code of the use case's models/USE_CASE/data.py.

That module has
    BATCH      the lake's batch that the events become
    CONTRACTS  file names in schemas/USE_CASE
    origin()   text that names the source's version
    tables(*contracts) -> one Arrow table for each contract, in its types
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import ModuleType

import msgspec
import numpy as np
import pyarrow as pa

from lockstep.compiling.asking import asking
from lockstep.contracts import Contract, Validator, columns_from_arrow
from lockstep.errors import ContractError, UsageError
from lockstep.lake import days, write_partition
from lockstep.lake.layout import open_lake
from lockstep.progress import Progress, Silent
from lockstep.training import fingerprint
from lockstep.training.definition import contract, load_module
from lockstep.training.sources import sources_of

__all__ = ["Loaded", "load"]

_DAY = 86_400_000_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Loaded:
    """What the lake holds of the source now. `rows` and `days` are by lake table."""

    rows: dict[str, int]
    days: dict[str, int]
    first: date
    last: date
    written: bool
    """False when everything was there already."""


class _Note(msgspec.Struct):
    """What lies in the lake beside the tables."""

    made_from: str
    rows: dict[str, int]
    days: dict[str, int]
    first: date
    last: date


def load(
    lake: str, use_case: str, progress: Progress | None = None, *, again: bool = False
) -> Loaded:
    """Write every event of the source into the lake, one folder a UTC day of event time.

    What is there already is left alone: a note in the lake names the source, the code and the
    contracts that it was made with. Raises ContractError naming a row that does not fit.
    """
    progress = progress or Silent()
    source = load_module(use_case, "data")
    contracts = [contract(use_case, name) for name in source.CONTRACTS]
    made_from = _fingerprint(use_case, source, contracts)
    note = f"_{use_case}.{source.BATCH}.json"
    known = None if again else _read_note(lake, note, made_from)
    if known is not None and all(
        len(days(lake, table)) >= count for table, count in known.days.items()
    ):
        return known
    progress.start(f"read {source.origin()}")
    tables = _tables(use_case, source, contracts)
    progress.finish(", ".join(f"{table.num_rows:,} events" for table in tables))
    rows, found = {}, {}
    for events, table in zip(contracts, tables, strict=True):
        _validate(events, table)
        parts = _by_day(events, table)
        progress.start(f"write {events.source}", len(parts))
        for day, part in parts:
            write_partition(lake, events.source, day, source.BATCH, part)
            progress.advance()
        rows[events.source], found[events.source] = table.num_rows, [day for day, _ in parts]
        progress.finish(f"{table.num_rows:,} events of {len(parts)} days")
    everything = [day for some in found.values() for day in some]
    loaded = Loaded(
        rows,
        {table: len(some) for table, some in found.items()},
        min(everything),
        max(everything),
        written=True,
    )
    _write_note(lake, note, made_from, loaded)
    return loaded


def _tables(use_case: str, source: ModuleType, contracts: Sequence[Contract]) -> list[pa.Table]:
    """What `tables` returns: an Arrow table with events for each contract, in their order."""
    file = f"models/{use_case}/data.py"
    wanted = ", ".join(source.CONTRACTS)
    left = "nothing: nothing was written"
    with asking(f"tables() of {file}"):
        made = source.tables(*contracts)
        tables = list(made) if isinstance(made, Iterable) else [made]
    if len(tables) != len(contracts):
        raise UsageError(
            f"tables() of {file} returns {len(tables)} tables; CONTRACTS names {len(contracts)}:"
            f" {wanted}",
            left=left,
            next=f"return one table for each contract, in this order: {wanted}",
        )
    for events, table in zip(contracts, tables, strict=True):
        if not isinstance(table, pa.Table):
            raise UsageError(
                f"tables() of {file} returns {type(table).__name__} for {events.name}, not an"
                " Arrow table",
                left=left,
                next="pyarrow.Table.from_pandas(FRAME, schema=contract.arrow_schema) makes one",
            )
        if not table.num_rows:
            raise UsageError(
                f"tables() of {file} returns no events for {events.name}",
                left=left,
                next=f"return the recorded events, or leave {events.name} out of CONTRACTS",
            )
    return tables


def _fingerprint(use_case: str, source: ModuleType, contracts: Sequence[Contract]) -> str:
    return fingerprint.combine(
        {
            "origin": source.origin(),
            "code": sources_of(f"models.{use_case}.data").hashes(),
            "contracts": [dict(found.document) for found in contracts],
        }
    )


def _validate(contract: Contract, table: pa.Table) -> None:
    columns = columns_from_arrow(contract, table)
    wrong = Validator(contract).violations(columns)
    if wrong:
        row, reason = next(iter(wrong.items()))
        raise ContractError(
            f"{len(wrong):,} of {table.num_rows:,} events do not fit {contract.name},"
            f" e.g. {columns[contract.id][row]}: {reason}",
            left="nothing: this table was not written",
            next="correct data.py or the contract",
        )


def _by_day(contract: Contract, table: pa.Table) -> list[tuple[date, pa.Table]]:
    """The table cut at midnight UTC; the order of events within a day stays."""
    day = table[contract.time].cast(pa.int64()).to_numpy() // _DAY
    order = np.argsort(day, kind="stable")
    table, day = table.take(order), day[order]
    starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    ends = [*starts[1:], len(day)]
    return [
        (_EPOCH + timedelta(days=int(day[start])), table.slice(start, end - start))
        for start, end in zip(starts, ends, strict=True)
    ]


def _read_note(lake: str, name: str, made_from: str) -> Loaded | None:
    system, root = open_lake(lake)
    try:
        with system.open_input_stream(f"{root}/{name}") as stream:
            note = msgspec.json.decode(stream.read(), type=_Note)
    except (FileNotFoundError, msgspec.MsgspecError, RecursionError):
        return None  # what is no note is written anew
    if note.made_from != made_from:
        return None
    return Loaded(note.rows, note.days, note.first, note.last, written=False)


def _write_note(lake: str, name: str, made_from: str, loaded: Loaded) -> None:
    system, root = open_lake(lake)
    note = _Note(made_from, loaded.rows, loaded.days, loaded.first, loaded.last)
    unfinished = f"{root}/.{name}"
    with system.open_output_stream(unfinished) as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(note)))
    system.move(unfinished, f"{root}/{name}")
