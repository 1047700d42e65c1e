"""The windows of a day's rows by Spark from the lake: as the nightly run computes them.

1. the lake's events that the rows name, each identity once
2. their windows, as `lockstep.features.batch` has them
3. where any state event came late, the same with late events counted
4. incomplete rows once more, at their cut
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import functions as f

from lockstep.audit.at_cut import at_cut
from lockstep.audit.stored import Stored
from lockstep.audit.verdict import Recomputed
from lockstep.contracts import Contract, honest, on_time
from lockstep.errors import LakeError, marked_in
from lockstep.features.batch import with_windows
from lockstep.features.batch_values import first_copies, micros_of
from lockstep.features.windows import VALUES, WindowSet
from lockstep.lake import partition_files, state_files
from lockstep.scoring.history import read_events, read_records

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["LakeDay", "open_day", "recompute"]


@dataclass(frozen=True, eq=False)
class LakeDay:
    """What the lake has for the windows of one day, and what of it came late."""

    spark: SparkSession
    day: date
    contract: Contract
    windows: WindowSet
    events: DataFrame
    state: Mapping[str, DataFrame]
    late_events: Mapping[str, int]
    """Source -> state events of the day that came late, as far as the day's windows see it."""
    any_late: bool
    """Whether any state event came late that the day's windows may see, of whatever day."""


def open_day(
    spark: SparkSession,
    use_case: str,
    lake: str,
    contract: Contract,
    windows: WindowSet,
    day: date,
) -> LakeDay:
    """Find the day's events and state. Raises LakeError naming the day that is missing."""
    try:
        files = partition_files(lake, contract.source, day)
        seen = state_files(lake, windows, [day])
    except LakeError as error:
        raise LakeError(
            error.message,
            left="no audit was stored",
            next=f"lockstep land {use_case} (brings what is on Kafka into the lake), then run the"
            " same command again",
        ) from None
    state = {
        source: read_records(
            spark, lake, windows.contracts[source], paths, windows.sources[source].limits
        )
        for source, paths in seen.items()
    }
    late, any_late = {}, False
    for source, records in state.items():
        late[source], ever = _late(records, windows, source, day)
        any_late = any_late or ever
    events = read_events(spark, contract, lake, files, windows.limits, copies=True)
    return LakeDay(spark, day, contract, windows, events, state, late, any_late)


def recompute(
    opened: LakeDay, stored: Stored, rows: np.ndarray[Any, Any], topics: Mapping[str, str]
) -> Recomputed:
    """The window values of `rows` of `stored`, in that order.

    Raises ContractError for a sum that no window can hold.
    """
    spark, contract, windows = opened.spark, opened.contract, opened.windows
    named = pa.table(
        {
            "_id": stored.ids.take(pa.array(rows)),
            "_time": stored.times.take(pa.array(rows)),
            "_row": pa.array(np.arange(len(rows))),
            "_cut": pa.array(stored.cut[rows]),
        }
    )
    same = (f.col(contract.id) == f.col("_id")) & (f.col(contract.time) == f.col("_time"))
    events = opened.events.join(spark.createDataFrame(named), same).drop("_id", "_time")
    try:
        found, values = _values(events, opened, len(rows), late=False)
        late = values
        if opened.any_late:
            _, late = _values(events, opened, len(rows), late=True)
        cut_known = stored.cut[rows] >= 0
        then = values
        if cut_known.any():
            marked = events.where(f.col("_cut") >= 0)
            then = at_cut(
                spark, marked, contract, windows, opened.state, stored.cuts, topics, len(rows)
            )
    except PySparkException as error:
        raise (marked_in(str(error)) or error) from None
    return Recomputed(found, values, late, then, cut_known)


def _values(
    events: DataFrame, opened: LakeDay, rows: int, *, late: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For which rows the lake has the event, and float32[rows, windows]."""
    width = len(opened.windows)
    windowed = with_windows(events, opened.contract, opened.windows, opened.state, late=late)
    table = windowed.select("_row", VALUES).toArrow()
    at = table["_row"].to_numpy()
    found = np.zeros(rows, np.bool_)
    found[at] = True
    values = np.full((rows, width), np.nan, np.float32)
    flat = table[VALUES].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values[at] = flat.reshape(-1, width)
    return found, values


def _late(records: DataFrame, windows: WindowSet, source: str, day: date) -> tuple[int, bool]:
    """State events of the day that came late, and whether any did, of whatever day."""
    contract, told = windows.contracts[source], windows.sources[source]
    time, available = micros_of(contract.time), micros_of("_available_at")
    late = ~on_time(time, available, told.limits)
    if records.where(late).isEmpty():
        return 0, False
    true_clock = records.where(honest(time, f.coalesce(available, time), told.limits))
    # A copy that came late after one that was on time is no late event.
    firsts = first_copies(true_clock, contract).where(late)
    counted = firsts.agg(
        f.count_if(f.to_date(contract.time) == f.lit(day)).alias("day"), f.count("*").alias("all")
    ).first()
    assert counted is not None  # noqa: S101 - an aggregate over everything is one row
    return counted["day"], counted["all"] > 0
