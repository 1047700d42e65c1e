"""Which events of a day are new with some batches: identities (id, time) that no other batch has.

A copy of an event changes nothing that anybody computes of the day.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import Contract
from lockstep.errors import LakeError
from lockstep.lake.footers import LANDED, open_parquet, reading
from lockstep.lake.layout import open_lake, partition_files

__all__ = ["new_events"]

_AVAILABLE = LANDED.field("_available_at")


def new_events(
    lake: str, contract: Contract, day: date, batches: Collection[str]
) -> tuple[int, int]:
    """How many events of a day only these landed batches have, and how many of them came late:
    readable after the day had ended.

    Raises LakeError when the day is missing, or one of these batches cannot be read.
    """
    names = [contract.id, contract.time]
    landed, others = [], []
    for path in partition_files(lake, contract.source, day):
        if path.split("/")[2].removeprefix("batch=") in batches:
            landed.append(_read(lake, path, contract, [*names, _AVAILABLE.name]))
        else:
            try:
                others.append(_read(lake, path, contract, names))
            except LakeError:
                continue  # who reads the day says so: here its events are nobody's
    # The earliest copy says when the event was readable.
    mine = pa.concat_tables(landed).group_by(names).aggregate([(_AVAILABLE.name, "min")])
    if others:
        known = pa.concat_tables(others).group_by(names).aggregate([])
        mine = mine.join(known, names, join_type="left anti")
    ended = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    late = pc.greater_equal(mine[f"{_AVAILABLE.name}_min"], pa.scalar(ended, _AVAILABLE.type))
    return mine.num_rows, pc.sum(late).as_py() or 0


def _read(lake: str, path: str, contract: Contract, names: list[str]) -> pa.Table:
    """Columns of a file; a row without an id or a time is no event that another could be."""
    system, root = open_lake(lake)
    fields = [*contract.arrow_schema, *LANDED]
    schema = pa.schema([field.with_nullable(True) for field in fields if field.name in names])
    with reading(system, path, contract):
        table = open_parquet(system, root, path, contract).read(columns=schema.names)
        return table.select(schema.names).cast(schema).drop_null()
