"""The windows of a day's rows by Spark from the lake: as the nightly run computes them.

1. the lake's events that the rows name, each identity once: of copies the one that was scored,
   which a row names by its place on Kafka; and whether another copy says something else
2. their windows, as `lockstep.windows.spark` has them
3. where any state event came late, the same with late events counted
4. incomplete rows once more, at their cut
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Window
from pyspark.sql import functions as f

from lockstep.audit.at_cut import at_cut
from lockstep.audit.stored import Stored
from lockstep.audit.verdict import Recomputed
from lockstep.contracts import Contract, honest, on_time
from lockstep.errors import LakeError, marked_in
from lockstep.lake import partition_files, state_files
from lockstep.lake.spark_events import read_records
from lockstep.windows.semantics import VALUES, WindowSet
from lockstep.windows.spark import with_windows
from lockstep.windows.spark_values import first_copies, micros_of, present

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
    """All that are not refused, copies included."""
    state: Mapping[str, DataFrame]
    late_events: Mapping[str, int]
    """Source -> state events of the day that came late, as far as the day's windows see it."""
    any_late: bool
    """Whether any state event came late that the day's windows may see, of whatever day."""


@contextmanager
def open_day(
    spark: SparkSession,
    use_case: str,
    lake: str,
    contract: Contract,
    windows: WindowSet,
    day: date,
) -> Iterator[LakeDay]:
    """Find the day's events and state, and have Spark keep them while they are open: they are
    judged once, in Python, and gone through several times.

    Raises LakeError naming the day that is missing.
    """
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
    with ExitStack() as kept:
        state = {
            source: _kept(
                kept,
                read_records(
                    spark, lake, windows.contracts[source], paths, windows.sources[source].limits
                ),
            )
            for source, paths in seen.items()
        }
        late, any_late = {}, False
        for source, records in state.items():
            late[source], ever = _late(records, windows, source, day)
            any_late = any_late or ever
        events = _kept(kept, read_records(spark, lake, contract, files, windows.limits))
        yield LakeDay(spark, day, contract, windows, events, state, late, any_late)


def _kept(kept: ExitStack, records: DataFrame) -> DataFrame:
    records.persist()
    kept.callback(records.unpersist)
    return records


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
            "_scored_partition": stored.partitions.take(pa.array(rows)),
            "_scored_offset": stored.offsets.take(pa.array(rows)),
            "_number": pa.array(np.arange(len(rows))),
            "_cut": pa.array(stored.cut[rows]),
        }
    )
    events = _scored(opened, spark.createDataFrame(named))
    try:
        found, copies, values = _values(events, opened, len(rows), late=False)
        late = values
        if opened.any_late:
            *_, late = _values(events, opened, len(rows), late=True)
        cut_known = stored.cut[rows] >= 0
        then = values
        if cut_known.any():
            marked = events.where(f.col("_cut") >= 0)
            then = at_cut(
                spark, marked, contract, windows, opened.state, stored.cuts, topics, len(rows)
            )
    except PySparkException as error:
        raise (marked_in(str(error)) or error) from None
    return Recomputed(found, values, late, then, cut_known, copies)


def _scored(opened: LakeDay, named: DataFrame) -> DataFrame:
    """The events that were scored, with `_row` and `_cut`; and `_copies`, the places of all copies
    where they do not say the same."""
    contract = opened.contract
    same = (f.col(contract.id) == f.col("_id")) & (f.col(contract.time) == f.col("_time"))
    here = (f.col("_kafka_partition") == f.col("_scored_partition")) & (
        f.col("_kafka_offset") == f.col("_scored_offset")
    )
    said = f.to_json(f.struct(*(present(contract, n.name).alias(n.name) for n in contract.fields)))
    identity = Window.partitionBy(contract.id, contract.time)
    places = f.sort_array(
        f.collect_list(f.array("_kafka_partition", "_kafka_offset")).over(identity)
    )
    copies = f.when(f.min("_said").over(identity) != f.max("_said").over(identity), places)
    joined = opened.events.join(named, same).withColumn("_said", said)
    first = first_copies(
        joined.withColumn("_copies", copies),
        contract,
        before=[f.coalesce(here, f.lit(False)).desc()],
    )
    names = [field.name for field in contract.fields]
    return first.select(*names, f.col("_number").alias("_row"), "_cut", "_copies")


def _values(
    events: DataFrame, opened: LakeDay, rows: int, *, late: bool
) -> tuple[np.ndarray[Any, Any], dict[int, list[Any]], np.ndarray[Any, Any]]:
    """For which rows the lake has the event, which have contradicting copies and where, and
    float32[rows, windows]."""
    width = len(opened.windows)
    windowed = with_windows(events, opened.contract, opened.windows, opened.state, late=late)
    table = windowed.select("_row", "_copies", VALUES).toArrow()
    at = table["_row"].to_numpy()
    several = table.filter(table["_copies"].is_valid())
    copies = dict(zip(several["_row"].to_pylist(), several["_copies"].to_pylist(), strict=True))
    found = np.zeros(rows, np.bool_)
    found[at] = True
    values = np.full((rows, width), np.nan, np.float32)
    flat = table[VALUES].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values[at] = flat.reshape(-1, width)
    return found, copies, values


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
