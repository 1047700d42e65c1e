"""NumPy columns as PostgreSQL binary arrays.

`insert ... select from unnest(...)` over arrays packed here takes about half the time of the
same lists adapted value by value. Layout: PostgreSQL's array_send (dimensions, null flag,
element type, length, lower bound, then length-prefixed values, all big-endian).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

__all__ = ["PG_EPOCH_DAYS", "PG_EPOCH_US", "Packed", "pack", "pack_text", "register"]

PG_EPOCH_DAYS = 10_957
"""Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts dates."""
PG_EPOCH_US = PG_EPOCH_DAYS * 86_400_000_000
"""The same in microseconds, from which it counts timestamps."""

_ELEMENTS = {
    "bool": (16, 1000, ">i1"),
    "int2": (21, 1005, ">i2"),
    "int4": (23, 1007, ">i4"),
    "int8": (20, 1016, ">i8"),
    "float4": (700, 1021, ">f4"),
    "date": (1082, 1182, ">i4"),
    "timestamptz": (1184, 1185, ">i8"),
}
_TEXT, _TEXT_ARRAY = 25, 1009


class Packed(bytes):
    """An array in PostgreSQL's binary form; the subclass says of which type."""


def _kind(array_oid: int) -> tuple[type[Packed], type[Dumper]]:
    packed = type(f"Packed{array_oid}", (Packed,), {})

    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = array_oid

        def dump(self, obj: Any) -> bytes:
            return bytes(obj)

    return packed, ArrayDumper


_KINDS = {oid: _kind(oid) for oid in (_TEXT_ARRAY, *(array for _, array, _ in _ELEMENTS.values()))}


def register(connection: psycopg.Connection[Any]) -> None:
    """Teach a connection to send packed arrays."""
    for packed, dumper in _KINDS.values():
        connection.adapters.register_dumper(packed, dumper)


def pack(kind: str, column: Any) -> Packed:
    """A numeric column without nulls. Dates and timestamps count from 2000-01-01."""
    element, array, dtype = _ELEMENTS[kind]
    values = np.empty(len(column), dtype=[("length", ">i4"), ("value", dtype)])
    values["length"] = values.dtype["value"].itemsize
    values["value"] = column
    return _KINDS[array][0](_header(0, element, len(column)) + values.tobytes())


def pack_text(strings: Sequence[str], *, empty_is_null: bool = False) -> Packed:
    """A column of strings; with `empty_is_null`, "" becomes NULL."""
    parts = [_header(int(empty_is_null), _TEXT, len(strings))]
    for string in strings:
        if empty_is_null and not string:
            parts.append(b"\xff\xff\xff\xff")
            continue
        encoded = string.encode()
        parts.append(len(encoded).to_bytes(4, "big"))
        parts.append(encoded)
    return _KINDS[_TEXT_ARRAY][0](b"".join(parts))


def _header(nulls: int, element: int, length: int) -> bytes:
    return np.array([1, nulls, element, length, 1], ">i4").tobytes()
