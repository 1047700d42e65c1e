"""A contract as one Spark expression: the same verdict on a row as the worker's `Validator`.

Landing checks with the contract in schemas/, a worker with the one inside its model. Where the
two differ, windows must count what the worker counted.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as f

from lockstep.contracts import Contract, Field

if TYPE_CHECKING:
    from pyspark.sql import Column

__all__ = ["is_valid"]


def is_valid(contract: Contract) -> Column:
    """Whether a row of the contract's columns keeps it; never null."""
    return reduce(lambda a, b: a & b, map(_kept, contract.fields))


def _kept(field: Field) -> Column:
    column = f.col(field.name)
    if field.kind == "string":
        kept = _string(field, column)
        absent = column.isNull() | (column == "")
    else:
        value = f.unix_micros(column) if field.kind == "timestamp" else column
        # NaN is greater than any number here.
        kept = (value >= f.lit(field.minimum)) & (value <= f.lit(field.maximum))
        absent = column.isNull() | f.isnan(column) if field.kind == "number" else column.isNull()
    return f.coalesce(kept | absent if field.nullable else kept, f.lit(False))


def _string(field: Field, column: Column) -> Column:
    length = f.length(column)
    kept = (length >= max(field.min_length, 1)) & ~f.contains(column, f.lit("\0"))
    if field.max_length:
        kept &= length <= field.max_length
    if field.enum:
        kept &= column.isin(*field.enum)
    if field.pattern:
        kept &= column.rlike(field.pattern)
    return kept
