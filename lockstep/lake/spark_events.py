"""What Spark reads of the lake: events to score, state, and the one with the other's windows.

Whoever needs the window values of recorded events takes them from `windowed_events`: the nightly
run, a training set and the audit see the same rows with the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lockstep.contracts import NO_LIMITS, Contract, Limits
from lockstep.lake import partition_files, require_columns, state_files
from lockstep.lake.spark_judging import FOLDER, judged
from lockstep.windows.semantics import WindowSet

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["read_events", "read_records", "windowed_events"]

_TYPES = {"string": "string", "integer": "bigint", "number": "double", "timestamp": "timestamp"}
_LANDED = "_available_at timestamp, _kafka_partition int, _kafka_offset bigint"


def windowed_events(
    spark: SparkSession,
    lake: str,
    contract: Contract,
    windows: WindowSet,
    days: Sequence[date],
    *,
    copies: bool = True,
    late: bool = False,
) -> DataFrame:
    """The events of `days`, each identity once, with `window_values`.

    Reads of each source just the days that the windows can see. `copies=False` says that the
    days are known to hold none, and nothing that is refused; `late` counts state events that came
    late, too.
    Raises LakeError naming the source and the day of state that is missing; a job over the
    result may fail with a ContractError inside, see `lockstep.errors.marked_in`.
    """
    from lockstep.windows.spark import with_windows

    files = [path for day in days for path in partition_files(lake, contract.source, day)]
    require_columns(lake, contract, files)
    seen = state_files(lake, windows, days)
    state = {
        source: read_records(
            spark, lake, windows.contracts[source], paths, windows.sources[source].limits
        )
        for source, paths in seen.items()
    }
    events = read_events(spark, contract, lake, files, windows.limits, copies=copies)
    return with_windows(events, contract, windows, state, late=late)


def read_events(
    spark: SparkSession,
    contract: Contract,
    lake: str,
    files: Sequence[str],
    limits: Limits,
    *,
    copies: bool,
) -> DataFrame:
    """The contract's columns of the given files, types widened as the lake's reader does.

    With `copies`, what is not refused, each identity (id, time) once: the same rows that
    `lockstep.lake.counted` keeps. Without, all rows as they lie there, and none is moved between
    machines.
    """
    names = [field.name for field in contract.fields]
    if not copies:
        return _read(spark, contract, lake, files).select(*names)
    from lockstep.windows.spark_values import first_copies

    return first_copies(read_records(spark, lake, contract, files, limits), contract).select(*names)


def read_records(
    spark: SparkSession,
    lake: str,
    contract: Contract,
    files: Sequence[str],
    limits: Limits = NO_LIMITS,
) -> DataFrame:
    """The rows of the given files that are not refused, copies and late ones included, with
    where they lay on Kafka and where they lie."""
    from pyspark.sql import functions as f

    path = f.split(f.col("_metadata.file_path"), "/")
    placed = _read(spark, contract, lake, files).select(
        "*",
        f.element_at(path, -3).alias(FOLDER),
        f.element_at(path, -2).alias("_batch"),
        f.element_at(path, -1).alias("_file"),
        f.col("_metadata.row_index").alias("_row"),
    )
    return judged(placed, contract, limits).drop(FOLDER)


def _read(spark: SparkSession, contract: Contract, lake: str, files: Sequence[str]) -> DataFrame:
    columns = ", ".join(f"`{f.name}` {_TYPES[f.kind]}" for f in contract.fields)
    return (
        spark.read.schema(f"{columns}, {_LANDED}")
        .option("datetimeRebaseMode", "CORRECTED")
        .parquet(*(_uri(lake, path) for path in files))
    )


def _uri(lake: str, path: str) -> str:
    # Hadoop's paths are not percent-encoded, so not Path.as_uri(); and Spark expands patterns.
    whole = (
        f"{lake.rstrip('/')}/{path}" if "://" in lake else f"file://{Path(lake).absolute()}/{path}"
    )
    return re.sub(r"([*?{}\[\]\\])", r"\\\1", whole)
