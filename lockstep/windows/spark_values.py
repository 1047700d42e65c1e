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

from lockstep.contracts import Contract, honest, on_time
from lockstep.errors import ContractError, marked
from lockstep.windows.semantics import Aggregate, Condition, StateSource, WindowSpec

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql import WindowSpec as SparkWindow

__all__ = [
    "Measure",
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
    first = first_copies(records.where(honest(time, available, source.limits)), contract)
    if not late:
        first = first.where(on_time(time, available, source.limits))
    return first.select(*fields)


def first_copies(
    records: DataFrame, contract: Contract, *, before: Sequence[Column] = ()
) -> DataFrame:
    """Of each identity (id, time) the first record: by Kafka's place, then by that in files.

    `before` decides first.
    """
    order = [
        *before,
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


def window_value(
    window: WindowSpec, measure: Measure, ordered: SparkWindow, running: dict[str, Column]
) -> Column:
    """The window's value at a point, from columns that are added to `running` as needed.

    `ordered` is a key's cells and points in order of `_hop`. A point at hop n stands for the
    as-of time n * hop: its window is the hops n - over/hop to n - 1.
    """
    hops = window.over // window.hop
    before = ordered.rangeBetween(Window.unboundedPreceding, -1)

    def inside(part: str) -> Column:
        """The sum over the window: all hops before its end without those before its begin."""
        name = measure.column(part)
        running.setdefault(f"{name}_end", f.sum(name).over(before))
        begun = ordered.rangeBetween(Window.unboundedPreceding, -hops - 1)
        running.setdefault(f"{name}_{hops}", f.sum(name).over(begun))
        zero = f.lit(0).cast("long")
        return f.coalesce(f.col(f"{name}_end"), zero) - f.coalesce(f.col(f"{name}_{hops}"), zero)

    unit = 10**window.scale
    if window.agg == "count":
        return inside("count").cast("float")
    if window.agg in ("min", "max"):
        name = measure.column(window.agg)
        frame = ordered.rangeBetween(-hops, -1)
        chosen = f.min(name) if window.agg == "min" else f.max(name)
        running.setdefault(f"{name}_{hops}", chosen.over(frame))
        return (f.col(f"{name}_{hops}").cast("double") / f.lit(float(unit))).cast("float")
    if window.agg == "last":
        name = measure.column("last")
        running.setdefault(f"{name}_end", f.last(name, ignorenulls=True).over(before))
        at = f.when(f.col(name).isNotNull(), f.col("_hop"))
        running.setdefault(f"{name}_at", f.last(at, ignorenulls=True).over(before))
        found = f.when(f.col(f"{name}_at") >= f.col("_hop") - f.lit(hops), f.col(f"{name}_end"))
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
