"""Thrift's compact protocol, in which a Parquet footer is written: bytes to plain values.

pyarrow tells some of what a footer says only through code that ends the whole process where the
footer is damaged. Here the end is values or a ValueError, whatever bytes come.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

__all__ = ["read_struct"]

_DEEPEST = 64
"""Nested values; Thrift's own limit."""


def read_struct(data: bytes) -> dict[int, Any]:
    """A struct: its fields by their numbers; what follows it is not looked at.

    Structs are dicts, lists are lists, binaries and doubles their bytes, the others int or bool.
    Raises ValueError where the bytes are no struct.
    """
    try:
        found: dict[int, Any] = _value(iter(data), 12, 0)
    except StopIteration:
        raise ValueError("the footer ends within a value") from None
    return found


def _value(data: Iterator[int], kind: int, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("the footer is nested too deep")
    match kind:
        case 1 | 2:
            return kind == 1
        case 3:
            return next(data)
        case 4 | 5 | 6:
            return _signed(data)
        case 7:
            return _bytes(data, 8)
        case 8:
            return _bytes(data, _unsigned(data))
        case 9 | 10:
            size, inner = divmod(next(data), 16)
            if size == 15:
                size = _unsigned(data)
            # In a list a boolean is a byte of its own.
            inner = 3 if inner in (1, 2) else inner
            return [_value(data, inner, depth + 1) for _ in range(size)]
        case 12:
            fields: dict[int, Any] = {}
            number = 0
            while head := next(data):
                step, inner = divmod(head, 16)
                number = number + step if step else _signed(data)
                fields[number] = _value(data, inner, depth + 1)
            return fields
        case _:
            raise ValueError(f"the footer has a value of the unknown type {kind}")


def _unsigned(data: Iterator[int]) -> int:
    found = 0
    for place in range(0, 70, 7):
        byte = next(data)
        found |= (byte & 127) << place
        if byte < 128:
            return found
    raise ValueError("the footer has a number of more than 10 bytes")


def _signed(data: Iterator[int]) -> int:
    found = _unsigned(data)
    return (found >> 1) ^ -(found & 1)


def _bytes(data: Iterator[int], size: int) -> bytes:
    found = bytes(islice(data, size))  # never more than there is, whatever a damaged size says
    if len(found) < size:
        raise ValueError("the footer ends within a value")
    return found
