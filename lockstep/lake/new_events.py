"""Which events of a day are new with some batches: identities (id, time) that no other batch has.

A copy of an event changes nothing that anybody computes of the day.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lockstep.contracts import Contract
from lockstep.lake.layout import open_lake, partition_files

__all__ = ["new_events"]

_AVAILABLE = pa.field("_available_at", pa.timestamp("us", tz="UTC"))


def new_events(
    lake: str, contract: Contract, day: date, batches: Collection[str]
) -> tuple[int, int]:
    """How many events of a day only these landed batches have, and how many of them came late:
    readable after the day had ended.

    Raises LakeError when the day is missing.
    """
    keys = [contract.arrow_schema.field(name) for name in (contract.id, contract.time)]
    names = [field.name for field in keys]
    landed, others = [], []
    for path in partition_files(lake, contract.source, day):
        if path.split("/")[2].removeprefix("batch=") in batches:
            landed.append(_read(lake, path, [*keys, _AVAILABLE]))
        else:
            try:
                others.append(_read(lake, path, keys))
            except (pa.ArrowException, OSError):
                continue  # who reads the day says so: here its events are nobody's
    # The earliest copy says when the event was readable.
    mine = pa.concat_tables(landed).group_by(names).aggregate([(_AVAILABLE.name, "min")])
    if others:
        known = pa.concat_tables(others).group_by(names).aggregate([])
        mine = mine.join(known, names, join_type="left anti")
    ended = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    late = pc.greater_equal(mine[f"{_AVAILABLE.name}_min"], pa.scalar(ended, _AVAILABLE.type))
    return mine.num_rows, pc.sum(late).as_py() or 0


def _read(lake: str, path: str, fields: list[pa.Field]) -> pa.Table:
    system, root = open_lake(lake)
    file = pq.ParquetFile(f"{root}/{path}", filesystem=system)
    return file.read(columns=[field.name for field in fields]).cast(pa.schema(fields))
