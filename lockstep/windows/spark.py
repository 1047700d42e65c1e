"""Window values of many events at once, by Spark DataFrames.

    1. the state events that count, each once, and their scaled values (`batch_values.counted`)
    2. cells: one row a key and hop, with the partial aggregates of what happened in it
    3. questions: one row a scored event and group, at the hop of its as-of time
    4. both in one order of hops for each key; running aggregates over it are the windows' values
    5. the answers of all groups go back to the scored event

Every source, key and hop goes through the same shuffles: a row says which group it belongs to.
What meets in one task is a key's cells and questions, so that a frequent key of the state costs
in proportion to the hops of its history, not to its events. Whatever is linear here stays
linear: running aggregates have unbounded frames, but for min and max.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as f

from lockstep.contracts import Contract
from lockstep.windows.semantics import VALUES, WindowSet, WindowSpec
from lockstep.windows.spark_values import (
    Measure,
    cell_columns,
    counted,
    floored,
    micros_of,
    present,
    value_columns,
    window_value,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["with_windows"]

_EVENT_ID, _EVENT_TIME = "_event_id", "_event_time"


@dataclass(frozen=True)
class _Group:
    """Windows that are looked up by the same keys in the same hops."""

    number: int
    source: str
    by: tuple[str, ...]
    hop: int


_Groups = dict[tuple[str, tuple[str, ...], int], _Group]
"""By source, by and hop."""


def with_windows(
    events: DataFrame,
    contract: Contract,
    windows: WindowSet,
    state: Mapping[str, DataFrame],
    *,
    late: bool = False,
) -> DataFrame:
    """Add `window_values array<float>` to scored events, in the order of the windows.

    NaN where nothing was in the window; never null. `events` have the contract's columns and
    each identity (id, time) once. `state` holds the records of each source: its contract's
    columns, `_available_at`, `_kafka_partition`, `_kafka_offset`, and `_batch`, `_file`, `_row`
    where rows lie in files (all of these may be null, and the last three absent). `late` also
    counts the events that came late.

    A sum beyond 2**53 fails the job with an error that `lockstep.errors.marked_in` finds.
    """
    if not windows:
        return events.withColumn(VALUES, f.array().cast("array<float>"))
    groups = _groups(windows)
    measures = _measures(windows)
    keys = [f"_key{number}" for number in range(max(len(group.by) for group in groups.values()))]
    place = ["_group", *keys, "_hop"]

    cells = [  # 1, 2
        _cells(windows, source, state[source], groups, measures, place, late=late)
        for source in windows.sources
        if any(group.source == source for group in groups.values())
    ]
    asked = _asked(events, contract, windows, groups, place)  # 3
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), [*cells, asked])
    answers = _answers(rows, windows, groups, measures, place)  # 4

    names = [f"_window{position}" for position in range(len(windows))]  # 5
    found = answers.groupBy(_EVENT_ID, _EVENT_TIME).agg(*(f.max(n).alias(n) for n in names))
    same = (f.col(contract.id) == f.col(_EVENT_ID)) & (f.col(contract.time) == f.col(_EVENT_TIME))
    nothing = [
        f.lit(0.0 if window.agg == "count" else float("nan")).cast("float")
        for window in windows.windows
    ]
    whole = f.array(*(f.coalesce(n, d) for n, d in zip(names, nothing, strict=True)))
    # Sorted joins: whoever plans a broadcast knows the size on disk, not what memory it takes.
    joined = events.hint("merge").join(found.hint("merge"), same, "left")
    return joined.select(*events.columns, whole.alias(VALUES))


def _groups(windows: WindowSet) -> _Groups:
    made: _Groups = {}
    for window in windows.windows:
        what = (window.source, window.by, window.hop)
        made.setdefault(what, _Group(len(made), *what))
    return made


def _measures(windows: WindowSet) -> dict[int, Measure]:
    """For each window, by its position, what it aggregates; the same object for the same."""
    kinds: dict[object, list[WindowSpec]] = {}
    what = [(w.source, w.value, w.minus, w.scale, w.where) for w in windows.windows]
    for window, kind in zip(windows.windows, what, strict=True):
        kinds.setdefault(kind, []).append(window)
    made = {
        kind: Measure(number, of[0], frozenset(window.agg for window in of))
        for number, (kind, of) in enumerate(kinds.items())
    }
    return {position: made[kind] for position, kind in enumerate(what)}


def _cells(
    windows: WindowSet,
    source: str,
    records: DataFrame,
    groups: _Groups,
    measures: Mapping[int, Measure],
    place: list[str],
    *,
    late: bool,
) -> DataFrame:
    contract = windows.contracts[source]
    mine = [group for group in groups.values() if group.source == source]
    own = list(dict.fromkeys(m for m in measures.values() if m.source == source))
    used = {contract.id, contract.time, *(name for group in mine for name in group.by)}
    used |= {name for measure in own for name in measure.fields}
    events = counted(records, windows.sources[source], contract, sorted(used), late=late)
    time = micros_of(contract.time)
    ordered = [time.alias("_time")]
    if any("last" in measure.aggs for measure in own):
        ordered.append(f.col(contract.id).alias("_id"))
    places = [_place(group, contract, floored(time, group.hop), place) for group in mine]
    return (
        events.select(*ordered, *value_columns(own, contract), _exploded(places))
        .select("*", "_place.*")
        .where(_found(place))
        .groupBy(*place)
        .agg(*cell_columns(own))
    )


def _asked(
    events: DataFrame,
    contract: Contract,
    windows: WindowSet,
    groups: _Groups,
    place: list[str],
) -> DataFrame:
    """Where each scored event looks: one row a group, none for a null key."""
    time = micros_of(contract.time)
    places = [
        _place(
            group,
            contract,
            floored(time - f.lit(windows.sources[group.source].delay), group.hop),
            place,
        )
        for group in groups.values()
    ]
    return (
        events.select(
            f.col(contract.id).alias(_EVENT_ID),
            f.col(contract.time).alias(_EVENT_TIME),
            _exploded(places),
        )
        .select(_EVENT_ID, _EVENT_TIME, "_place.*")
        .where(_found(place))
    )


def _place(group: _Group, contract: Contract, hop: Column, place: list[str]) -> Column:
    """Which group, keys and hop a row belongs to. Keys are text; those that lack are empty."""
    given = [present(contract, name).cast("string") for name in group.by]
    spare = [f.lit("")] * (len(place) - 2 - len(given))
    columns = [f.lit(group.number), *given, *spare, hop]
    return f.struct(*(c.alias(name) for c, name in zip(columns, place, strict=True)))


def _exploded(places: list[Column]) -> Column:
    return f.explode(f.array(*places)).alias("_place")


def _found(place: list[str]) -> Column:
    """No key is null. One that is there is never empty."""
    return reduce(lambda a, b: a & b, (f.col(name).isNotNull() for name in place[1:-1]))


def _answers(
    rows: DataFrame,
    windows: WindowSet,
    groups: _Groups,
    measures: Mapping[int, Measure],
    place: list[str],
) -> DataFrame:
    """The questions with the values of their group's windows, and null for the others'."""
    ordered = Window.partitionBy(*place[:-1]).orderBy("_hop")
    running: dict[str, Column] = {}
    values = []
    for position, window in enumerate(windows.windows):
        group = groups[window.source, window.by, window.hop]
        value = window_value(window, measures[position], ordered, running)
        mine = f.col("_group") == f.lit(group.number)
        values.append(f.when(mine, value).cast("float").alias(f"_window{position}"))
    asked = [_EVENT_ID, _EVENT_TIME]
    return (
        rows.select(*place, *asked, *(column.alias(name) for name, column in running.items()))
        .where(f.col(_EVENT_ID).isNotNull())
        .select(*asked, *values)
    )
