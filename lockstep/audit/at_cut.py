"""Windows of incomplete rows, from what had been read of the state topics when they were scored.

    1. each row beside all state events of its keys and its windows' time
    2. of these, the records below the row's cut; of copies the first that is below it
    3. each window's count and number, as exact integers
    4. rounded like everywhere

Every row meets every event: obvious, and meant for the few rows whose wait expired. Records that
never were on Kafka are below no cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import Window
from pyspark.sql import functions as f

from lockstep.audit.stored import Cut
from lockstep.contracts import Contract, honest, on_time
from lockstep.windows.semantics import WindowSet, WindowSpec, rounded
from lockstep.windows.spark_values import Measure, floored, micros_of, present, value_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = ["at_cut"]

_PLACE = ("_kafka_partition", "_kafka_offset")


def at_cut(
    spark: SparkSession,
    events: DataFrame,
    contract: Contract,
    windows: WindowSet,
    state: Mapping[str, DataFrame],
    cuts: Sequence[Cut],
    topics: Mapping[str, str],
    rows: int,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32[rows, windows]. `events` have `_row` (below `rows`) and `_cut`, an index.

    Rows that `events` does not hold get what an empty window gives.
    """
    counts = np.zeros((rows, len(windows)), np.int64)
    numbers = np.zeros((rows, len(windows)), np.int64)
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for position, window in enumerate(windows.windows):
        groups.setdefault((window.source, window.by), []).append(position)
    for (source, by), positions in groups.items():
        limits = _limits(spark, cuts, topics.get(source, ""))
        measures = [_measure(windows, position) for position in positions]
        asked = _asked(events, contract, by, [windows.windows[p] for p in positions], windows)
        records = _records(state[source], windows, source, by, measures)
        found = _met(asked.join(limits, "_cut"), records, windows, positions).toArrow()
        at = found["_row"].to_numpy()
        for position in positions:
            counts[at, position] = found[f"_count{position}"].to_numpy()
            numbers[at, position] = found[f"_number{position}"].to_numpy()
    columns = [
        rounded(window.agg, window.scale, counts[:, position], numbers[:, position])
        for position, window in enumerate(windows.windows)
    ]
    return np.stack(columns, axis=1)


def _measure(windows: WindowSet, position: int) -> Measure:
    window = windows.windows[position]
    return Measure(position, window, frozenset([window.agg]))


def _limits(spark: SparkSession, cuts: Sequence[Cut], topic: str) -> DataFrame:
    found = [(number, cut.get(topic, [])) for number, cut in enumerate(cuts)]
    return spark.createDataFrame(found, "_cut int, _limits array<bigint>")


def _asked(
    events: DataFrame,
    contract: Contract,
    by: Sequence[str],
    of: Sequence[WindowSpec],
    windows: WindowSet,
) -> DataFrame:
    """A row's keys, and the time that its windows span."""
    time = micros_of(contract.time)
    ends = [_end(window, windows, time) for window in of]
    begins = [end - f.lit(window.over) for end, window in zip(ends, of, strict=True)]
    return events.select(
        "_row",
        "_cut",
        time.alias("_at"),
        reduce(f.least, begins).alias("_from"),
        reduce(f.greatest, ends).alias("_until"),
        *(present(contract, n).cast("string").alias(f"_key{i}") for i, n in enumerate(by)),
    )


def _end(window: WindowSpec, windows: WindowSet, time: Column) -> Column:
    delay = windows.sources[window.source].delay
    return floored(time - f.lit(delay), window.hop) * f.lit(window.hop)


def _records(
    state: DataFrame,
    windows: WindowSet,
    source: str,
    by: Sequence[str],
    measures: Sequence[Measure],
) -> DataFrame:
    """Records with honest clocks, on time, each with the places of its earlier copies."""
    contract, told = windows.contracts[source], windows.sources[source]
    time, available = micros_of(contract.time), micros_of("_available_at")
    copies = Window.partitionBy(contract.id, contract.time).orderBy(*_PLACE)
    earlier = f.collect_list(f.struct(*_PLACE)).over(
        copies.rowsBetween(Window.unboundedPreceding, -1)
    )
    return (
        state.where(f.col("_kafka_partition").isNotNull())
        .where(honest(time, available, told.limits))
        .withColumn("_earlier", earlier)
        .where(on_time(time, available, told.limits))
        .select(
            time.alias("_time"),
            f.col(contract.id).alias("_id"),
            *_PLACE,
            "_earlier",
            *(present(contract, n).cast("string").alias(f"_state{i}") for i, n in enumerate(by)),
            *value_columns(measures, contract),
        )
    )


def _met(
    asked: DataFrame, records: DataFrame, windows: WindowSet, positions: Sequence[int]
) -> DataFrame:
    keys = [name for name in asked.columns if name.startswith("_key")]
    same = [f.col(name) == f.col(f"_state{number}") for number, name in enumerate(keys)]
    inside = (f.col("_time") >= f.col("_from")) & (f.col("_time") < f.col("_until"))
    first = _below(*map(f.col, _PLACE)) & ~f.exists(
        "_earlier", lambda copy: _below(*(copy.getField(name) for name in _PLACE))
    )
    wanted = []
    for position in positions:
        window = windows.windows[position]
        end = _end(window, windows, f.col("_at"))
        within = (f.col("_time") >= end - f.lit(window.over)) & (f.col("_time") < end)
        value = f.when(within, f.col(_measure(windows, position).column("value")))
        number = f.coalesce(_number(window, value), f.lit(0)).cast("long")
        wanted += [f.count(value).alias(f"_count{position}"), number.alias(f"_number{position}")]
    met = asked.join(records, reduce(lambda a, b: a & b, [*same, inside])).where(first)
    return met.groupBy("_row").agg(*wanted)


def _below(partition: Column, offset: Column) -> Column:
    """Whether a record had been read: its offset is below the cut of its partition."""
    return f.coalesce(f.get("_limits", partition) > offset, f.lit(False))


def _number(window: WindowSpec, value: Column) -> Column:
    if window.agg == "last":
        moment = f.struct("_time", "_id", value.alias("value"))
        return f.max(f.when(value.isNotNull(), moment)).getField("value")
    if window.agg in ("min", "max"):
        return f.min(value) if window.agg == "min" else f.max(value)
    return f.sum(value)
