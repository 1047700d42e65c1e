"""A Spark job has the oracle's verdict on an event, too: the one validator runs in its workers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as f

from lockstep.contracts import Contract
from lockstep.lake import write_partition
from lockstep.lake.spark_events import read_records
from lockstep.spark.session import spark_session
from tests.contracts.contract_cases import Case, drawn, recorded

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_AT_ONCE = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("verdicts", "local[2]", left="nothing", next="nothing") as session:
        yield session


@pytest.mark.parametrize("amount", [20, pytest.param(150, marks=pytest.mark.long)])
def test_spark_agrees_with_the_oracle(amount, spark, tmp_path):
    """Many cases are one job: each is read by a branch of its own."""
    cases, kept = drawn(amount), 0
    for start in range(0, len(cases), _AT_ONCE):
        lake = tmp_path / f"lake{start}"
        some = dict(enumerate(cases[start : start + _AT_ONCE]))
        expected = {(n, row) for n, case in some.items() for row in written(lake, n, case)}
        branches = [
            read(spark, lake, number, case.contract).select(
                f.lit(number).alias("number"), f.col("_kafka_offset").alias("row")
            )
            for number, case in some.items()
            if (lake / f"case{number}").exists()
        ]
        found = {tuple(row) for row in reduce(lambda a, b: a.unionAll(b), branches).collect()}
        wrong = sorted(found ^ expected)
        assert not wrong, [(row, some[number]) for number, row in wrong[:1]]
        kept += len(found)
    assert kept > amount, "the cases have enough that is kept"


def written(lake: Path, number: int, case: Case) -> set[int]:
    """Write the events of a case into the folders of their days; which of them are to be kept."""
    table, rows = recorded(case)
    times = table[case.contract.time].cast(pa.int64()).to_numpy(zero_copy_only=False)
    days = np.floor_divide(times, _DAY_US)
    # No folder is called after a day that no calendar has, or after none.
    days = np.where((days > -700_000) & (days < 2_900_000), days, np.nan)
    offsets = pa.array(range(table.num_rows), pa.int64())
    table = table.append_column("_kafka_offset", offsets)
    for day in np.unique(days[~np.isnan(days)]):
        part = table.filter(pa.array(days == day))
        date = (_EPOCH + timedelta(days=int(day))).date()
        write_partition(str(lake), f"case{number}", date, "b", part)
    kept = np.array(case.kept, bool)[rows] & ~np.isnan(days)
    return set(np.flatnonzero(kept).tolist())


def read(spark: SparkSession, lake: Path, number: int, contract: Contract) -> DataFrame:
    folders = sorted((lake / f"case{number}").iterdir())
    files = [
        str(path.relative_to(lake)) for folder in folders for path in folder.glob("*/*.parquet")
    ]
    return read_records(spark, str(lake), contract, files)
