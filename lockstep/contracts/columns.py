"""Events as columns: one NumPy array a field, the same whether they came as JSON or as Parquet.

string -> object array of str, null as ""; integer and timestamp -> int64;
number -> float64, null as NaN. A contract's strings are never empty unless null.

Who only validates and scores takes `encoded_columns`: there a string column is dictionary-encoded,
and never becomes one Python object a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts.contract import Contract
from lockstep.contracts.field import Field, Kind
from lockstep.contracts.text import require_text, string_array
from lockstep.errors import ContractError

__all__ = [
    "Columns",
    "EncodedColumns",
    "EncodedStrings",
    "columns_and_nulls",
    "columns_from_arrow",
    "encode_strings",
    "encoded_columns",
    "model_inputs",
    "spelled_nulls",
]

Columns = Mapping[str, np.ndarray[Any, Any]]
_NOTHING: Mapping[Kind, Any] = {"string": "", "integer": 0, "number": np.nan, "timestamp": 0}
"""What stands in a row that is left out in any case."""


@dataclass(frozen=True, eq=False)
class EncodedStrings:
    """A column of n strings in which each different one is kept once: row i is values[codes[i]]."""

    codes: np.ndarray[Any, np.dtype[np.int32]]
    values: pa.Array
    """Strings, none of which is null: "" stands for that."""

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> EncodedStrings:
        return EncodedStrings(self.codes[rows], self.values)

    def objects(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """The values, without rows: an object array of str."""
        # Arrow's to_numpy would import pandas, which takes 20 MB; a worker has no use for it.
        found = np.empty(len(self.values), object)
        found[:] = self.values.to_pylist()
        return found

    def decoded(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """The column as `columns_from_arrow` gives it."""
        found: np.ndarray[Any, np.dtype[np.object_]] = self.objects()[self.codes]
        return found


EncodedColumns = Mapping[str, np.ndarray[Any, Any] | EncodedStrings]
"""Columns, string columns of which may be dictionary-encoded."""


def columns_from_arrow(contract: Contract, batch: pa.RecordBatch | pa.Table) -> dict[str, Any]:
    """The contract's columns of an Arrow batch.

    Raises ContractError naming the column when one is missing, of another type, null where the
    contract allows none, or not of UTF-8.
    """
    return {
        field.name: _objects(column) if field.kind == "string" else column
        for field, column in _read(contract, batch)
    }


def encoded_columns(contract: Contract, batch: pa.RecordBatch | pa.Table) -> dict[str, Any]:
    """The same, with EncodedStrings for strings."""
    return {
        field.name: _encoded(column) if field.kind == "string" else column
        for field, column in _read(contract, batch)
    }


def columns_and_nulls(
    contract: Contract, batch: pa.RecordBatch | pa.Table
) -> tuple[dict[str, Any], dict[int, str]]:
    """The same, and which rows are null where they may not be, and why they do not fit."""
    nulls: dict[int, str] = {}
    columns = {
        field.name: _encoded(column) if field.kind == "string" else column
        for field, column in _read(contract, batch, nulls)
    }
    return columns, nulls


def spelled_nulls(contract: Contract, table: pa.Table) -> pa.Table:
    """The same rows, with a null for whatever reads as one: NaN, and "" where null may be."""
    for position, name in enumerate(table.schema.names):
        field, column = contract.by_name.get(name), table.column(position)
        if field is None or not field.nullable:
            continue
        if field.kind == "number":
            column = pc.if_else(pc.is_nan(column), None, column)
        elif field.kind == "string":
            column = pc.if_else(pc.equal(column, ""), None, column)
        table = table.set_column(position, table.schema.field(position), column)
    return table


def encode_strings(columns: Columns) -> dict[str, Any]:
    """What `encoded_columns` makes of the same events, for who has them as objects.

    Without Arrow's own encoding, which would import pandas and open a pool of memory: a worker,
    which checks its kernel on both forms, has no other use for them.
    """
    return {
        name: _dictionary(column) if column.dtype == object else column
        for name, column in columns.items()
    }


def model_inputs(columns: EncodedColumns, names: Iterable[str]) -> dict[str, Any]:
    """The columns a graph reads, as it types them: numbers rounded once to float32."""
    found: dict[str, Any] = {}
    for name in names:
        column = columns[name]
        if isinstance(column, EncodedStrings):
            found[name] = column.decoded()
        else:
            found[name] = column.astype(np.float32) if column.dtype == np.float64 else column
    return found


def _read(
    contract: Contract, batch: pa.RecordBatch | pa.Table, nulls: dict[int, str] | None = None
) -> Iterator[tuple[Field, Any]]:
    """Every field with its column: strings as Arrow holds them, without nulls; NumPy's others.

    With `nulls`, rows that are null where they may not be are put there, with the reason.
    """
    for field in contract.fields:
        if field.name in batch.schema.names:
            column = _column(field, batch.column(field.name), contract)
            if column.null_count and not field.nullable:
                rows = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist()
                if nulls is None:
                    raise ContractError(
                        f"column {field.name!r} is null in row {rows[0]}, but may not be"
                    )
                for row in rows:
                    nulls.setdefault(row, f"{field.name} is null, but may not be")
                column = pc.fill_null(column, pa.scalar(_NOTHING[field.kind], column.type))
            yield field, column if field.kind == "string" else column.to_numpy(zero_copy_only=False)
        elif field.required:
            raise ContractError(f"column {field.name!r} is missing (contract {contract.name})")
        else:
            yield field, _absent(field, batch.num_rows)


def _absent(field: Field, rows: int) -> Any:
    return pa.repeat("", rows) if field.kind == "string" else np.full(rows, np.nan)


def _column(field: Field, column: pa.Array, contract: Contract) -> Any:
    """A column as Arrow holds it, of a type that NumPy takes; null where nothing stands for it."""
    expected = contract.arrow_schema.field(field.name).type
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not _fits(column.type, field):
        raise ContractError(
            f"column {field.name!r} has type {column.type}, not {expected}"
            f" (contract {contract.name})"
        )
    if field.kind == "string":
        require_text(field.name, column)
        return pc.fill_null(column, "") if field.nullable and column.null_count else column
    return column.cast(expected).cast(pa.int64() if field.kind != "number" else expected)


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


def _objects(column: pa.Array) -> Any:
    return column.to_numpy(zero_copy_only=False)


def _encoded(column: pa.Array) -> EncodedStrings:
    found = column.dictionary_encode()
    return EncodedStrings(found.indices.to_numpy(), found.dictionary)


def _dictionary(strings: np.ndarray[Any, Any]) -> EncodedStrings:
    values, codes = np.unique(strings, return_inverse=True)
    return EncodedStrings(codes.astype(np.int32), string_array(values))
