"""One stretch of a partition, from Kafka's bytes to the lake's files: what runs in a Spark task.

    1. judge each record exactly as the worker does; nothing is too late here, some are too old
    2. when the stretch is complete, group its rows by the UTC date of their event time
    3. write each date as a batch of its own, one file, which appears by one rename
    4. tell the driver what was written and what was refused, in a few rows

A batch is named by what it holds: topic, partition and offsets. Doing a stretch again, however
far it had come, overwrites the same batches; so nothing is there twice that is not twice in
Kafka.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from lockstep.contracts import Columns, Contract, Judge, Limits, kind_of, readable_at
from lockstep.errors import LockstepError, marked, printable
from lockstep.lake import LANDED, write_partition

__all__ = ["OUTCOME", "LandingAssignment", "batch_name", "land_batches"]

OUTCOME = (
    "partition int, first long, following long, day date, reason string, rows long, late long,"
    " first_offset long, last_offset long, example string"
)
"""A row for each date of a stretch, and for each reason to refuse: the other one is null."""
_OUTCOME = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("first", pa.int64()),
        pa.field("following", pa.int64()),
        pa.field("day", pa.date32()),
        pa.field("reason", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("late", pa.int64()),
        pa.field("first_offset", pa.int64()),
        pa.field("last_offset", pa.int64()),
        pa.field("example", pa.string()),
    ]
)
_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_MOST_KINDS = 100
_LONGEST_EXAMPLE = 300


@dataclass(frozen=True)
class LandingAssignment:
    """What a task must know. Pickled to the workers."""

    lake: str
    topic_id: str
    contract: dict[str, Any] = field(repr=False)
    max_bytes: int
    limits: Limits


def batch_name(topic_id: str, partition: int, first: int, following: int) -> str:
    """The batch of a stretch; below each date that it has events of."""
    topic = hashlib.sha256(topic_id.encode()).hexdigest()[:8]
    return f"landed-{topic}-{partition:04d}-{first:012d}-{following:012d}"


def land_batches(
    assignment: LandingAssignment, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One task: all the batches of one stretch, or of several, one after the other."""
    try:
        stretches: dict[tuple[int, int, int], _Stretch] = {}
        for batch in batches:
            if batch.num_rows:
                key = tuple(batch.column(name)[0].as_py() for name in _OUTCOME.names[:3])
                stretch = stretches.get(key) or stretches.setdefault(key, _Stretch(assignment))
                stretch.add(batch)
        for key, stretch in stretches.items():
            rows = [dict(zip(_OUTCOME.names, key, strict=False)) | row for row in stretch.land(key)]
            yield pa.RecordBatch.from_pylist(rows, schema=_OUTCOME)
    except LockstepError as error:
        raise RuntimeError(marked(error)) from None


class _Stretch:
    """The events of one stretch, and what was wrong with the others."""

    def __init__(self, assignment: LandingAssignment) -> None:
        self._assignment = assignment
        self._contract = Contract.from_document(assignment.contract)
        self._judge = Judge(self._contract, assignment.limits, max_bytes=assignment.max_bytes)
        self._tables: list[pa.Table] = []
        self._refused: dict[str, tuple[int, int, str]] = {}
        """Kind -> how many, the first one's offset and its reason."""

    def add(self, batch: pa.RecordBatch) -> None:
        offsets = batch.column("offset").to_numpy()
        stamps = batch.column("timestamp_ms").fill_null(-1).to_numpy()
        judged = self._judge.records(batch.column("value").to_pylist(), readable_at(stamps))
        unread = batch.column("unread").to_pylist()
        for position in sorted(judged.refused):
            # What is not handed over looks like a tombstone.
            reason = unread[position] or judged.refused[position]
            self._refuse(int(offsets[position]), reason)
        if len(judged.kept):
            partition = batch.column("partition")[0].as_py()
            place = judged.available_at, partition, offsets[judged.kept]
            self._tables.append(_table(self._contract, judged.columns, *place))

    def land(self, key: tuple[int, ...]) -> Iterator[dict[str, Any]]:
        """Write what was added; a row for each date and for each kind of refusal."""
        batch = batch_name(self._assignment.topic_id, *key)
        for day, table in self._by_date():
            write_partition(self._assignment.lake, self._contract.source, day, batch, table)
            offsets = table.column("_kafka_offset").to_numpy()
            available = table.column("_available_at").cast(pa.int64()).to_numpy()
            ended = ((day - _EPOCH).days + 1) * _DAY_US
            yield {
                "day": day,
                "rows": table.num_rows,
                "late": int((available >= ended).sum()),
                "first_offset": int(offsets.min()),
                "last_offset": int(offsets.max()),
            }
        for kind, (rows, offset, reason) in self._refused.items():
            example = printable(f"partition {key[0]}, offset {offset}: {reason}", _LONGEST_EXAMPLE)
            yield {
                "reason": printable(kind, _LONGEST_EXAMPLE),
                "rows": rows,
                "first_offset": offset,
                "example": example,
            }

    def _by_date(self) -> Iterator[tuple[date, pa.Table]]:
        if not self._tables:
            return
        table = pa.concat_tables(self._tables)
        self._tables = []
        days = table.column(self._contract.time).cast(pa.int64()).to_numpy() // _DAY_US
        order = np.argsort(days, kind="stable")  # rows of a date stay in the log's order
        numbers, starts = np.unique(days[order], return_index=True)
        ends = [*starts[1:].tolist(), len(order)]
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
            yield _EPOCH + timedelta(days=number), table.take(pa.array(order[start:end]))

    def _refuse(self, offset: int, reason: str) -> None:
        kind = kind_of(reason)
        if kind not in self._refused and len(self._refused) >= _MOST_KINDS:
            kind = "other reasons"
        rows, first, example = self._refused.get(kind, (0, offset, reason))
        self._refused[kind] = rows + 1, first, example


def _table(
    contract: Contract, columns: Columns, available: Any, partition: int, offsets: Any
) -> pa.Table:
    """Columns as the lake keeps them: the contract's types, nulls as nulls, Kafka's part."""
    arrays = []
    for member, kind in zip(contract.fields, contract.arrow_schema.types, strict=True):
        column = columns[member.name]
        if member.kind == "string":
            strings = column.tolist()
            # Only a null is empty: the validator lets no other empty string pass.
            given = [text or None for text in strings] if member.nullable else strings
            arrays.append(pa.array(given, kind))
        elif member.kind == "number":
            arrays.append(pa.array(column, kind, from_pandas=True))
        else:
            arrays.append(pa.array(column, pa.int64()).cast(kind))
    arrays += [
        pa.array(available, pa.int64()).cast(LANDED.field(0).type),
        pa.array(np.full(len(offsets), partition), LANDED.field(1).type),
        pa.array(offsets, LANDED.field(2).type),
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema([*contract.arrow_schema, *LANDED]))
