"""Columns back to JSON: what a producer would have sent."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from lockstep.contracts.columns import columns_from_arrow
from lockstep.contracts.contract import Contract

__all__ = ["to_json"]


def to_json(contract: Contract, table: pa.Table | pa.RecordBatch) -> list[bytes]:
    """Each row as a JSON event that decodes to exactly the same columns.

    Floats are written with as many digits as bring the same float64 back; nulls as null.
    Raises ContractError when the table is not of the contract's types.
    """
    columns = columns_from_arrow(contract, table)
    values = []
    for field in contract.fields:
        column = columns[field.name].tolist()
        if field.kind == "string" and field.nullable:
            column = [value or None for value in column]
        values.append(column)
    names = [field.name for field in contract.fields]
    # msgspec writes NaN, which is how columns hold a null number, as null.
    encode = msgspec.json.Encoder().encode
    return [encode(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]
