"""Strings between Python and Arrow."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from lockstep.errors import ContractError

__all__ = ["require_text", "string_array"]


def string_array(strings: Iterable[str]) -> pa.LargeStringArray:
    """Strings, none of which is null, as Arrow holds them.

    Not by `pa.array`, which would import pandas: it takes 20 MB, and a worker has no use for it.
    """
    encoded = [value.encode() for value in strings]
    ends = pa.py_buffer(np.cumsum([0, *map(len, encoded)], dtype=np.int64))
    text = pa.py_buffer(b"".join(encoded))
    return pa.LargeStringArray.from_buffers(len(encoded), ends, text)


def require_text(name: str, strings: pa.Array | pa.ChunkedArray) -> None:
    """Raises ContractError for bytes that are not UTF-8: a Parquet file may hold any."""
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ContractError(f"column {name!r} holds no text: {error}") from None
