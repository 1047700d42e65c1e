"""Which rows of the lake count: judge, then the first copy, for whoever reads the lake.

1. what `lockstep.contracts.judgement` refuses is no event; it is counted by its reason
2. of several copies of an event, rows of one identity (id, time), the first counts: those
   that were on Kafka by (partition, offset), then the others by (batch, file, row)
3. copies that do not say the same are in conflict: the first one counts all the same, and
   they are told (docs/adr/0015)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import Contract, Judge, kind_of, spelled_nulls
from lockstep.lake.footers import LANDED

__all__ = ["Conflict", "Counted", "counted", "first_copies", "told_refused"]

_PLACE = LANDED.names[1:]
_TOLD = 3
_CHUNK = 65_536


@dataclass(frozen=True)
class Conflict:
    """An event of which the lake has copies that do not say the same."""

    id: str
    time: datetime
    places: tuple[tuple[int, int] | None, ...]
    """(partition, offset) of each different copy, the one that counts first; None: loaded."""
    fields: tuple[str, ...]
    """What they differ in."""


@dataclass(frozen=True, eq=False)
class Counted:
    """The events of a table, each once, in the table's order."""

    table: pa.Table
    copies: int
    """Rows that repeat an event."""
    refused: Mapping[str, int]
    """Kind of reason -> rows that are no events."""
    reasons: Mapping[int, str]
    """Row of the table that was given -> why it is no event."""
    events: pa.Table
    """The rows that are events, copies included."""
    contract: Contract

    @cached_property
    def conflicts(self) -> tuple[Conflict, ...]:
        """In order of time and id. Looked for when asked: only a publish marks them."""
        return tuple(_conflicts(self.events, self.contract)) if self.copies else ()


def counted(table: pa.Table, judge: Judge) -> Counted:
    """The events among rows of the contract's columns and LANDED, in order of batch, file, row."""
    reasons: dict[int, str] = {}
    kept = []
    for start in range(0, table.num_rows, _CHUNK):
        rows = table.slice(start, _CHUNK)
        judged = judge.rows(rows, rows.column(LANDED.names[0]))
        kept.append(judged.kept + start)
        reasons |= {start + row: reason for row, reason in judged.refused.items()}
    events = table if not reasons else table.take(pa.array(np.concatenate(kept)))
    firsts = first_copies(events, judge.contract)
    copies = events.num_rows - firsts.num_rows
    return Counted(
        table=firsts,
        copies=copies,
        refused=Counter(kind_of(reason) for reason in reasons.values()),
        reasons=reasons,
        events=events,
        contract=judge.contract,
    )


def told_refused(refused: Mapping[str, int], source: str) -> str:
    """For the end of a sentence; nothing where nothing was refused."""
    if not refused:
        return ""
    kinds = sorted(refused.items(), key=lambda kind: -kind[1])
    told = "; ".join(f"{rows:,} as {kind}" for kind, rows in kinds[:_TOLD])
    more = f"; and {len(kinds) - _TOLD} other reasons" if len(kinds) > _TOLD else ""
    return f"; {sum(refused.values()):,} rows of {source} refused ({told}{more})"


def first_copies(table: pa.Table, contract: Contract) -> pa.Table:
    """The rows that are the first copy of their identity, in their order."""
    order = _order(table)
    ordered = table.select([contract.id, contract.time]).take(pa.array(order))
    firsts = (
        ordered.append_column("_rank", pa.array(np.arange(table.num_rows)))
        .group_by([contract.id, contract.time], use_threads=False)
        .aggregate([("_rank", "min")])
    )
    if firsts.num_rows == table.num_rows:
        return table
    return table.take(pa.array(np.sort(order[firsts.column("_rank_min").to_numpy()])))


def _order(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows in the order in which copies are counted."""
    rows = np.arange(table.num_rows)
    if table.column(_PLACE[0]).null_count == table.num_rows:
        return rows
    found = pc.sort_indices(
        table.select(_PLACE).append_column("_row", pa.array(rows)),
        sort_keys=[(name, "ascending") for name in (*_PLACE, "_row")],  # nulls come last
    )
    return np.asarray(found.to_numpy(), np.int64)


def _conflicts(table: pa.Table, contract: Contract) -> list[Conflict]:
    """In order of time and id."""
    names = contract.arrow_schema.names
    identity = [contract.id, contract.time]
    ordered = spelled_nulls(contract, table.select([*names, *_PLACE])).take(pa.array(_order(table)))
    different = (
        ordered.append_column("_rank", pa.array(np.arange(ordered.num_rows)))
        .group_by(names, use_threads=False)
        .aggregate([("_rank", "min")])
        .sort_by("_rank_min")
    )
    several = different.group_by(identity).aggregate([([], "count_all")])
    several = several.filter(pc.greater(several.column("count_all"), 1)).select(identity)
    if not several.num_rows:
        return []
    rows = different.join(several, identity, join_type="left semi").column("_rank_min")
    found: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for row in ordered.take(pa.array(np.sort(rows.to_numpy()))).to_pylist():
        found.setdefault((row[contract.time], row[contract.id]), []).append(row)
    return [
        Conflict(
            id=id,
            time=time,
            places=tuple(
                None if row[_PLACE[0]] is None else (row[_PLACE[0]], row[_PLACE[1]]) for row in rows
            ),
            fields=tuple(name for name in names if len({row[name] for row in rows}) > 1),
        )
        for (time, id), rows in sorted(found.items())
    ]
