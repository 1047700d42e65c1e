"""What a Spark job spends on scoring: a million recorded events, with each kernel for the trees.

    python -m benchmarks.batch [--quick] [--json FILE]

Needs a running stack with an approved model of flight_delay (`make demo`).

score_1m   seconds from Parquet to scores, in a Spark of this machine (local[2]): read, hand over
           to Python, check against the contract, score. Nothing is staged, and window values are
           made up, so that this is what a kernel changes, and what it does not. `transport` hands
           the rows over and gives none back.

Subjects take turns within one Spark, after a round that does not count. --quick: 300 thousand.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as f

from benchmarks.report import Report, arguments
from lockstep.exits import ended
from lockstep.lake import days, partition_files
from lockstep.lake.spark_events import read_events
from lockstep.registry.approved import approved_model
from lockstep.scoring.spark import SentModel, score_batch
from lockstep.settings import Settings
from lockstep.spark.java import use_java
from lockstep.spark.session import spark_session
from lockstep.warehouse.connect import connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

USE_CASE = "flight_delay"
KERNELS = ("onnxruntime", "numpy", "compiled")
_OUTCOME = pa.schema([pa.field("rows", pa.int64())])


def main() -> None:
    given = arguments(__doc__ or "")
    settings = Settings.load()
    use_java(settings)
    with closing(connect(settings, "scorer", USE_CASE)) as connection:
        _, model = approved_model(settings, USE_CASE, connection)
    contract, lake = model.contract, settings.lake
    source = contract.source
    files = [path for day in days(lake, source) for path in partition_files(lake, source, day)]
    report = Report("batch")
    with spark_session("benchmark", "local[2]", left="nothing", next="nothing") as spark:
        year = read_events(spark, contract, lake, files, copies=False)
        events = year
        for _ in range(0 if given.quick else 2):
            events = events.union(year)
        values = f.array(*(f.lit(0.5).cast("float") for _ in model.window_names))
        events = events.withColumn("window_values", values).repartition(2).persist()
        expected = events.count()
        work = {"transport": transport} | {
            kernel: partial(scored, SentModel(model.data, model.digest, kernel))
            for kernel in KERNELS
        }
        for turn in range(2 if given.quick else 4):
            for subject, run in work.items():
                seconds = timed(events, run, expected)
                if turn:
                    beside = None if subject == "onnxruntime" else "onnxruntime"
                    report.add("score_1m", subject, [seconds * 1e6 / expected], "s", beside)
    report.publish(given.json)


def timed(events: DataFrame, run: object, expected: int) -> float:
    started = time.perf_counter()
    rows = sum(row["rows"] for row in events.mapInArrow(run, "rows long").collect())
    if rows != expected:
        raise SystemExit(f"{rows:,} of {expected:,} rows")
    return time.perf_counter() - started


def transport(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield counted(sum(batch.num_rows for batch in batches))


def scored(sent: SentModel, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield counted(sum(score_batch(sent, batch).num_rows for batch in batches))


def counted(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([rows], pa.int64())], schema=_OUTCOME)


if __name__ == "__main__":
    sys.exit(ended(main))
