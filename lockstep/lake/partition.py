"""One day of events as an Arrow table: written as a batch, read whole, each event once.

Beside the contract's columns a file may have LANDED: what Kafka said of each row. Of several
copies of an event the first counts: those that were on Kafka by (partition, offset), then the
others by (batch, file, row).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from lockstep.contracts import Contract, require_text
from lockstep.errors import LakeError
from lockstep.lake.footers import LANDED, open_parquet, reading
from lockstep.lake.layout import batch_path, open_lake, partition_files

__all__ = ["LANDED", "distinct", "read_partition", "stored_rows", "write_partition"]

_PLACE = [LANDED.field("_kafka_partition"), LANDED.field("_kafka_offset")]
_FILE = "part-00000.parquet"


def write_partition(lake: str, source: str, day: date, batch: str, table: pa.Table) -> str:
    """Write `table` as the whole of one batch; returns its file, below the lake's root.

    A reader sees the batch as it was or as it is now: the new file appears by one rename. Other
    files in the batch's folder, which an earlier writer may have left, go afterwards; until then
    their events are copies, and read once.
    """
    system, root = open_lake(lake)
    path = batch_path(source, day, batch)
    folder = f"{root}/{path}"
    system.create_dir(folder, recursive=True)
    unfinished = f"{folder}/.{uuid.uuid4().hex}"
    try:
        pq.write_table(table, unfinished, filesystem=system)
        system.move(unfinished, f"{folder}/{_FILE}")
    except BaseException:
        if system.get_file_info(unfinished).type != fs.FileType.NotFound:
            system.delete_file(unfinished)
        raise
    for info in system.get_file_info(fs.FileSelector(folder)):
        if info.base_name != _FILE:
            system.delete_file(info.path)
    return f"{path}/{_FILE}"


def read_partition(
    lake: str,
    contract: Contract,
    day: date,
    columns: Sequence[str] | None = None,
    *,
    landed: bool = False,
) -> pa.Table:
    """The events of one day in the contract's types, each identity (id, time) once.

    Of several copies the first counts, see above; rows keep the order of batch, file and row.
    `columns` limits what is read (id and time are always read); with `landed` the columns
    LANDED come along, null where a row never was on Kafka. Values are not checked here; a
    column that the contract lets be absent reads as null.

    Raises LakeError when the partition is missing or empty, a column is missing or of another
    type, or an event lies in the folder of another day.
    """
    system, root = open_lake(lake)
    schema = pa.schema([*_schema(contract, columns), *(LANDED if landed else _PLACE)])
    tables = [
        _read(system, root, path, contract, schema)
        for path in partition_files(lake, contract.source, day)
    ]
    table = pa.concat_tables(tables)
    if table.num_rows == 0:
        raise LakeError(
            f"the partition {contract.source}/date={day} has no events"
            f" ({len(tables)} files, 0 rows)",
            left="nothing: no prediction was written",
            next=f"load the events of {day} into the lake",
        )
    _refuse_other_days(table, contract, day)
    once = distinct(table, contract)
    return once if landed else once.drop_columns([field.name for field in _PLACE])


def stored_rows(lake: str, source: str, day: date) -> int:
    """Rows of one day's files, copies included, as their footers say."""
    system, root = open_lake(lake)
    files = partition_files(lake, source, day)
    return sum(pq.read_metadata(f"{root}/{path}", filesystem=system).num_rows for path in files)


def distinct(table: pa.Table, contract: Contract) -> pa.Table:
    """The first copy of each identity (id, time); rows keep their order.

    `table` is in the order of batch, file and row, and says where rows lie on Kafka.
    """
    ranks = pa.array(_ranks(table))
    firsts = (
        table.select([contract.id, contract.time])
        .append_column("_rank", ranks)
        .group_by([contract.id, contract.time], use_threads=False)
        .aggregate([("_rank", "min")])
    )
    if firsts.num_rows == table.num_rows:
        return table
    return table.filter(pc.is_in(ranks, firsts.column("_rank_min").combine_chunks()))


def _ranks(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each row, how many rows come before it where copies are counted."""
    rows = np.arange(table.num_rows)
    place = [field.name for field in _PLACE]
    if table.column(place[0]).null_count == table.num_rows:
        return rows
    order = pc.sort_indices(
        table.select(place).append_column("row", pa.array(rows)),
        sort_keys=[(name, "ascending") for name in (*place, "row")],  # nulls come last
    )
    ranks = np.empty_like(rows)
    ranks[order.to_numpy()] = rows
    return ranks


def _schema(contract: Contract, columns: Sequence[str] | None) -> pa.Schema:
    """The contract's columns, all nullable: a null is the checks' to report, with its event."""
    wanted = set(contract.by_name) if columns is None else {*columns, contract.id, contract.time}
    return pa.schema(
        [field.with_nullable(True) for field in contract.arrow_schema if field.name in wanted]
    )


def _read(
    system: fs.FileSystem, root: str, path: str, contract: Contract, schema: pa.Schema
) -> pa.Table:
    with reading(system, path, contract):
        file = open_parquet(system, root, path, contract)
        present = [name for name in schema.names if name in file.schema_arrow.names]
        table = file.read(columns=present)
        arrays = [
            pa.nulls(table.num_rows, schema.field(name).type)
            if name not in present
            else table.column(name).cast(schema.field(name).type)
            for name in schema.names
        ]
        for name, column in zip(schema.names, arrays, strict=True):
            if pa.types.is_string(column.type):
                require_text(name, column)
    return pa.Table.from_arrays(arrays, schema=schema)


def _refuse_other_days(table: pa.Table, contract: Contract, day: date) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = table.column(contract.time)
    inside = pc.and_(
        pc.greater_equal(times, pa.scalar(start, times.type)),
        pc.less(times, pa.scalar(start + timedelta(days=1), times.type)),
    )
    outside = table.filter(pc.invert(pc.fill_null(inside, True)))
    if outside.num_rows:
        first = outside.slice(0, 1).to_pylist()[0]
        raise LakeError(
            f"{outside.num_rows:,} events in {contract.source}/date={day} are of another UTC day,"
            f" e.g. {contract.id} {first[contract.id]!r} with {contract.time}"
            f" {first[contract.time]}",
            left="nothing: no prediction was written",
            next="load the batch again into the folders of its events' days",
        )
