"""The expressions of window values in Spark: which events count, cells, running aggregates.

Everything is exact integers until the one division at the end. A sum travels as two integers,
sum(v >> 26) and sum(v & (2**26 - 1)): a running sum over years may pass 2**63 where no window's
sum comes near 2**53, and must not fail for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as f

from lockstep.contracts import Contract
from lockstep.errors import ContractError, marked
from lockstep.features.windows import Aggregate, Condition, StateSource, WindowSpec

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql import WindowSpec as SparkWindow

__all__ = [
    "Measure",
    "Running",
    "cell_columns",
    "counted",
    "first_copies",
    "floored",
    "micros_of",
    "present",
    "value_columns",
    "window_value",
]

_EXACT = 2**53
_LOW_BITS = 26
_LOW = (1 << _LOW_BITS) - 1
_FILE_PLACE = ("_batch", "_file", "_row")


@dataclass(frozen=True)
class Measure:
    """What several windows aggregate in common: a value of certain events of one source."""

    number: int
    example: WindowSpec = field(compare=False)
    aggs: frozenset[Aggregate] = field(compare=False)

    @property
    def source(self) -> str:
        return self.example.source

    @property
    def fields(self) -> set[str]:
        """The fields of a state event that it reads."""
        named = {self.example.value, self.example.minus} - {None}
        return {name for name in named if name} | {c.field for c in self.example.where}

    def column(self, part: str) -> str:
        """The name of one of its columns: the value, or a part of its aggregates."""
        return f"_{part}{self.number}"


def micros_of(name: str) -> Column:
    """A timestamp column as exact microseconds since 1970."""
    return f.unix_micros(f.col(name))


def floored(micros: Column, hop: int) -> Column:
    """The number of the hop that a time lies in, also before 1970: never through a double."""
    width = f.lit(hop)
    return f.call_function("div", micros - f.pmod(micros, width), width)


def present(contract: Contract, name: str) -> Column:
    """A field with all that reads as null made null: NaN, and an empty optional string."""
    known = contract.by_name[name]
    column = f.col(name)
    if known.kind == "number":
        return f.when(~f.isnan(column), column)
    if known.kind == "string" and known.nullable:
        return f.when(column != "", column)
    return f.unix_micros(column) if known.kind == "timestamp" else column


def counted(
    records: DataFrame,
    source: StateSource,
    contract: Contract,
    fields: Sequence[str],
    *,
    late: bool,
) -> DataFrame:
    """The events that count, with `fields`: honest clocks, one of several copies, on time."""
    time = micros_of(contract.time)
    available = f.coalesce(micros_of("_available_at"), time)
    first = first_copies(records.where(time <= available + f.lit(source.clock_skew)), contract)
    if not late:
        first = first.where(available <= time + f.lit(source.delay - source.clock_skew))
    return first.select(*fields)


def first_copies(records: DataFrame, contract: Contract) -> DataFrame:
    """Of each identity (id, time) the first record: by Kafka's place, then by that in files."""
    order = [
        f.col("_kafka_partition").asc_nulls_last(),
        f.col("_kafka_offset").asc_nulls_last(),
        *(f.col(name).asc() for name in _FILE_PLACE if name in records.columns),
    ]
    copies = Window.partitionBy(contract.id, contract.time).orderBy(*order)
    ranked = records.withColumn("_copy", f.row_number().over(copies))
    return ranked.where(f.col("_copy") == 1).drop("_copy")


def value_columns(measures: Iterable[Measure], contract: Contract) -> list[Column]:
    """Each measure's integer of an event, null where the event does not count for it."""
    made = []
    for measure in measures:
        window = measure.example
        value: Column = f.lit(0).cast("long")
        if window.value is not None:
            value = _scaled(window.value, window.scale, contract)
        if window.minus is not None:
            value = value - _scaled(window.minus, window.scale, contract)
        conditions = [_true(condition, contract) for condition in window.where]
        if conditions:
            value = f.when(reduce(lambda a, b: a & b, conditions), value)
        made.append(value.alias(measure.column("value")))
    return made


def _scaled(name: str, scale: int, contract: Contract) -> Column:
    whole = present(contract, name).cast("double") * f.lit(float(10**scale))
    return f.rint(whole).cast("long")


def _true(condition: Condition, contract: Contract) -> Column:
    column = present(contract, condition.field)
    if condition.operator == "is null":
        return column.isNull()
    if condition.operator == "is not null":
        return column.isNotNull()
    literal = f.lit(condition.literal)
    comparisons: Mapping[str, Column] = {
        "=": column == literal,
        "!=": column != literal,
        "<": column < literal,
        "<=": column <= literal,
        ">": column > literal,
        ">=": column >= literal,
    }
    return comparisons[condition.operator]


def cell_columns(measures: Iterable[Measure]) -> list[Column]:
    """The partial aggregates of a cell that its windows need; null where nothing counted."""
    made = []
    for measure in measures:
        value = f.col(measure.column("value"))
        parts = {"count": f.count(value)}
        if measure.aggs & {"sum", "mean"}:
            parts["high"] = f.sum(f.shiftright(value, _LOW_BITS))
            parts["low"] = f.sum(value.bitwiseAND(f.lit(_LOW)))
        if "min" in measure.aggs:
            parts["min"] = f.min(value)
        if "max" in measure.aggs:
            parts["max"] = f.max(value)
        if "last" in measure.aggs:
            moment = f.struct("_time", "_id", value.alias("value"))
            parts["last"] = f.max(f.when(value.isNotNull(), moment)).getField("value")
        made += [column.alias(measure.column(part)) for part, column in parts.items()]
    return made


@dataclass
class Running:
    """Aggregates along the hops of a key, and where they are read; filled by `window_value`."""

    before: SparkWindow
    """All rows of the key up to the current one, in order of hop, lookups before cells."""
    by_hop: SparkWindow
    columns: dict[str, Column] = field(default_factory=dict)
    read: dict[tuple[str, int], None] = field(default_factory=dict)
    """(column, slot), each once, in order."""

    def at(self, name: str, column: Column, slot: int) -> Column:
        """The column's value in the point's lookup `slot`."""
        self.columns.setdefault(name, column)
        self.read.setdefault((name, slot))
        return f.col(f"{name}_at{slot}")


def window_value(window: WindowSpec, measure: Measure, slot: int, running: Running) -> Column:
    """The window's value at a point, from columns that are added to `running` as needed.

    A point at hop n stands for the as-of time n * hop: its window is the hops n - over/hop to
    n - 1. Lookup 0 is at its end, lookup `slot` at its begin.
    """
    hops = window.over // window.hop
    unit = 10**window.scale

    def inside(part: str) -> Column:
        """The sum over the window: all before its end without all before its begin."""
        name = measure.column(part)
        total = f.coalesce(f.sum(name).over(running.before), f.lit(0).cast("long"))
        return running.at(name, total, 0) - running.at(name, total, slot)

    if window.agg == "count":
        return inside("count").cast("float")
    if window.agg in ("min", "max"):
        name = measure.column(window.agg)
        chosen = f.min(name) if window.agg == "min" else f.max(name)
        frame = running.by_hop.rangeBetween(-hops, -1)
        found = running.at(f"{name}_{hops}", chosen.over(frame), 0)
        return (found.cast("double") / f.lit(float(unit))).cast("float")
    if window.agg == "last":
        name = measure.column("last")
        value = f.last(name, ignorenulls=True).over(running.before)
        hop = f.last(f.when(f.col(name).isNotNull(), f.col("_hop")), ignorenulls=True)
        seen = running.at(f"{name}_hop", hop.over(running.before), 0)
        found = f.when(seen >= f.col("_hop") - f.lit(hops), running.at(name, value, 0))
        return (found.cast("double") / f.lit(float(unit))).cast("float")
    count = inside("count")
    total = _total(window, inside("high"), inside("low")).cast("double")
    divisor = count * f.lit(unit) if window.agg == "mean" else f.lit(unit)
    return f.when(count > 0, total / divisor.cast("double")).cast("float")


def _total(window: WindowSpec, high: Column, low: Column) -> Column:
    """high * 2**26 + low as one integer; an error beyond 2**53."""
    carried = high + f.shiftright(low, _LOW_BITS)
    rest = low.bitwiseAND(f.lit(_LOW))
    near = f.abs(carried) <= f.lit(2 << (53 - _LOW_BITS))
    total = carried * f.lit(1 << _LOW_BITS) + rest
    exact = f.when(near, f.abs(total) <= f.lit(_EXACT)).otherwise(f.lit(False))
    wide = carried.cast("decimal(38,0)") * f.lit(1 << _LOW_BITS) + rest
    return f.when(exact, total).otherwise(_overflow(window, wide))


def _overflow(window: WindowSpec, total: Column) -> Column:
    """Fails the job with an error's text, which `lockstep.errors.marked_in` finds again."""
    error = ContractError(
        f"window {window.name}: the sum <total> is beyond 2**53, where it is not exact",
        next="a smaller scale or a shorter window",
    )
    before, after = marked(error).split("<total>")
    text = f.concat(f.lit(before), total.cast("string"), f.lit(after))
    return f.raise_error(text).cast("long")
