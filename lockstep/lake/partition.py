"""One day of events as an Arrow table: written as a batch, read whole, each event once.

Beside the contract's columns a file may have LANDED: what Kafka said of each row. Which rows count
is said in `lockstep.lake.counting`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from lockstep.contracts import Contract, Judge, require_text
from lockstep.errors import LakeError, printable
from lockstep.lake.counting import counted
from lockstep.lake.footers import LANDED, open_parquet, reading
from lockstep.lake.layout import batch_path, open_lake, partition_files

__all__ = ["read_partition", "read_rows", "require_day", "write_partition"]

_FILE = "part-00000.parquet"
_DAY_US = 86_400_000_000


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

    What counts is said in `lockstep.lake.counting`: rows that break the contract are left out;
    of clocks nothing is asked. Rows keep the order of batch, file and row. With `columns` just
    those come, and id and time; with `landed` the columns LANDED come along, null where a row
    never was on Kafka.

    Raises LakeError as `read_rows` does, and for a day without rows.
    """
    rows = read_rows(lake, contract, day, empty=False)
    table = counted(rows, Judge(contract)).table
    chosen = {contract.id, contract.time, *(contract.by_name if columns is None else columns)}
    names = [name for name in contract.arrow_schema.names if name in chosen]
    return table.select([*names, *(LANDED.names if landed else ())])


def read_rows(lake: str, contract: Contract, day: date, *, empty: bool = True) -> pa.Table:
    """All rows of one day, copies included, in the order of batch, file and row.

    They have the contract's columns and LANDED, all nullable: values are not judged here, and a
    column that the contract lets be absent reads as null.

    Raises LakeError when the partition is missing (or has no rows, where it may not be `empty`),
    a column is missing or of another type, or an event lies in the folder of another day.
    """
    system, root = open_lake(lake)
    schema = pa.schema([*(field.with_nullable(True) for field in contract.arrow_schema), *LANDED])
    tables = [
        _read(system, root, path, contract, schema)
        for path in partition_files(lake, contract.source, day)
    ]
    table = pa.concat_tables(tables)
    if table.num_rows == 0 and not empty:
        raise LakeError(
            f"the partition {contract.source}/date={day} has no events"
            f" ({len(tables)} files, 0 rows)",
            left="nothing: no prediction was written",
            next=f"load the events of {day} into the lake",
        )
    require_day(table, contract, day)
    return table


def require_day(table: pa.Table, contract: Contract, day: date) -> None:
    """Raises LakeError where an event of the table is of another UTC day."""
    times = table.column(contract.time)
    # As integers: the last day that Python has ends in no datetime.
    micros = times.cast(pa.int64())
    start = (day - date(1970, 1, 1)).days * _DAY_US
    inside = pc.and_(pc.greater_equal(micros, start), pc.less(micros, start + _DAY_US))
    outside = table.filter(pc.invert(pc.fill_null(inside, True)))
    if outside.num_rows:
        name = printable(str(outside.column(contract.id)[0].as_py()), 100)
        # As Arrow writes it: Python has no year beyond 9999.
        time = outside.column(contract.time)[0].cast(pa.string())
        raise LakeError(
            f"{outside.num_rows:,} events in {contract.source}/date={day} are of another UTC day,"
            f" e.g. {contract.id} {name!r} with {contract.time} {time}",
            left="nothing: no prediction was written",
            next="load the batch again into the folders of its events' days",
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
