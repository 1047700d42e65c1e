"""Whole numbers are divided by positive constants only.

ONNX Runtime fails on a whole number that is divided by 0, and the smallest int64 divided by -1
ends the process, whichever it is: a worker would start again, meet the same event and end again.
What a column holds nobody knows beforehand, and a null that was cast to a whole number is the
smallest one. NumPy answers 0 there and goes on, so no notebook shows it.
"""

from __future__ import annotations

import onnx.shape_inference
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

__all__ = ["divides_safely"]

_DIVISIONS = frozenset({"Div", "Mod"})
_WHOLE = frozenset(
    getattr(TensorProto, name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)


def divides_safely(model: ModelProto) -> bool:
    """Whether no division or remainder of whole numbers in a graph can fail."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    return all(
        _is_positive(constants.get(node.input[1]))
        for node in graph.node
        if node.op_type in _DIVISIONS and types.get(node.output[0]) in _WHOLE
    )


def _is_positive(divisor: NodeProto | None) -> bool:
    if divisor is None:
        return False
    values = [numpy_helper.to_array(a.t) for a in divisor.attribute if a.name == "value"]
    return bool(values) and bool((values[0] > 0).all())
