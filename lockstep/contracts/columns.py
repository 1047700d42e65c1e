"""Events as columns: one NumPy array a field, the same whether they came as JSON or as Parquet.

string -> object array of str, null as ""; integer and timestamp -> int64;
number -> float64, null as NaN. A contract's strings are never empty unless null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts.contract import Contract, Field
from lockstep.errors import ContractError

__all__ = ["Columns", "columns_from_arrow", "model_inputs"]

Columns = Mapping[str, np.ndarray[Any, Any]]


def columns_from_arrow(contract: Contract, batch: pa.RecordBatch | pa.Table) -> dict[str, Any]:
    """The contract's columns of an Arrow batch.

    Raises ContractError naming the column when one is missing, of another type, or null
    where the contract allows none.
    """
    columns = {}
    for field in contract.fields:
        if field.name not in batch.schema.names:
            if field.required:
                raise ContractError(f"column {field.name!r} is missing (contract {contract.name})")
            columns[field.name] = _absent(field, batch.num_rows)
            continue
        columns[field.name] = _column(field, batch.column(field.name), contract)
    return columns


def model_inputs(columns: Columns, names: Iterable[str]) -> dict[str, Any]:
    """The columns a graph reads, as it types them: numbers rounded once to float32."""
    return {
        name: column.astype(np.float32) if column.dtype == np.float64 else column
        for name, column in ((name, columns[name]) for name in names)
    }


def _absent(field: Field, rows: int) -> Any:
    return np.full(rows, "", object) if field.kind == "string" else np.full(rows, np.nan)


def _column(field: Field, column: pa.Array, contract: Contract) -> Any:
    expected = contract.arrow_schema.field(field.name).type
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not _fits(column.type, field):
        raise ContractError(
            f"column {field.name!r} has type {column.type}, not {expected}"
            f" (contract {contract.name})"
        )
    if column.null_count and not field.nullable:
        row = pc.index(pc.is_null(column), pa.scalar(True)).as_py()
        raise ContractError(f"column {field.name!r} is null in row {row}, but may not be")
    if field.kind == "string":
        filled = pc.fill_null(column, "") if column.null_count else column
        return filled.to_numpy(zero_copy_only=False)
    if field.kind == "number":
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return column.cast(expected).cast(pa.int64()).to_numpy(zero_copy_only=False)


def _fits(found: pa.DataType, field: Field) -> bool:
    match field.kind:
        case "string":
            return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
        case "integer":
            return bool(pa.types.is_signed_integer(found))
        case "number":
            return bool(pa.types.is_float32(found) or pa.types.is_float64(found))
        case "timestamp":
            return bool(pa.types.is_timestamp(found) and found.tz is not None)
