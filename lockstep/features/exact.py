"""Helpers that the array-API standard lacks, each for NumPy and for ndonnx, with the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Array", "Event", "floor_divide", "lookup", "namespace"]

Array: TypeAlias = Any
"""A one-dimensional array: NumPy's when run eagerly, ndonnx's when traced."""

Event: TypeAlias = Mapping[str, Array]
"""Field name -> array: strings as str, integers and timestamps as int64, numbers as float32."""


def namespace(array: Array) -> Any:
    """The array-API functions that go with `array`.

    >>> import numpy as np
    >>> xp = namespace(np.array([1.0, 4.0]))
    >>> xp.astype(xp.sqrt(np.array([1.0, 4.0])), xp.float32)
    array([1., 2.], dtype=float32)
    """
    return array.__array_namespace__()


def lookup(values: Array, codes: Mapping[str, float], default: float) -> Array:
    """float32 codes of strings; `default` for a null and for a string without a code.

    `codes` becomes a constant of the graph.

    >>> import numpy as np
    >>> lookup(np.array(["AA", "ZZ", ""], object), {"AA": 1.0}, default=0.0)
    array([1., 0., 0.], dtype=float32)
    """
    exact = {key: np.float32(code) for key, code in codes.items()}
    if isinstance(values, np.ndarray):
        found = [exact.get(value, np.float32(default)) for value in values.tolist()]
        return np.array(found, np.float32)
    import ndonnx.extensions as nde

    return nde.static_map(values, exact, np.float32(default))


def floor_divide(values: Array, by: int) -> Array:
    """floor(values / by) of int64 values; `by` is positive. Also exact before 1970.

    `values // by` means the same, but is traced into three times as many nodes.

    >>> import numpy as np
    >>> floor_divide(np.array([7, -1]), 2)
    array([ 3, -1])
    """
    if by <= 0:
        raise ValueError(f"by is {by}, not positive")
    if isinstance(values, np.ndarray):
        return values // by
    import ndonnx as ndx
    import spox.opset.ai.onnx.v21 as op

    # The remainder has the divisor's sign, so the division that follows leaves none.
    multiple = (values - values % by).unwrap_spox()
    return ndx.asarray(op.div(multiple, op.const(by, np.int64)))
