"""The row features of a model as graphs that give column after column, for the tree kernels.

The file's graph puts the features of a row side by side, as trees walk them. Kernels read
columns; so the features that a tree asks for, and no others, are put one below the other.

What is asked of one string field alone, such as its category's code, has the same answer in every
row with the same string. Those questions are cut out as a graph of their own: where strings come
dictionary-encoded, they are answered once for each different string of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import get_attribute_value, make_node, make_tensor_value_info
from onnx.numpy_helper import from_array, to_array

from lockstep.compiled_model.opening import CompiledModel
from lockstep.compiled_model.parts import Shape, cut, ensemble, open_part, reads
from lockstep.compiled_model.structure import parse
from lockstep.errors import ModelRefused

__all__ = ["COLUMNS", "FeatureColumns", "cut_feature_columns"]

# Names that no field and no traced value has.
COLUMNS = "lockstep.columns"
_FIRST_AXIS = "lockstep.first_axis"
_ROW_BY_ROW = frozenset(
    {"And", "Cast", "Equal", "Identity", "IsNaN", "LabelEncoder", "Not", "Or", "Where", "Xor"}
)
"""Operators whose answer for a row depends on what they read in that row only, where each thing
that they read has either one value a row or one for all of them."""


class FeatureColumns(NamedTuple):
    """The graphs, as sessions."""

    answers: Mapping[str, tuple[str, ...]]
    """String field -> the values that answer what is asked of it alone."""
    questions: Any
    """Those fields to the answers, all of the same length. None where there are none."""
    rest: Any
    """The answers, and the other fields and windows, to COLUMNS: float32[columns, n]."""


def cut_feature_columns(model: CompiledModel, wanted: Sequence[int]) -> FeatureColumns:
    """The row features at the positions `wanted` of the matrix, in that order.

    Raises ModelRefused where the matrix is not put together from a column for each feature.
    """
    graph = _column_after_column(parse(model.data), wanted)
    answers = _string_questions(graph)
    if not answers:
        return FeatureColumns({}, None, open_part(graph))
    inputs, outputs = list(graph.graph.input), list(graph.graph.output)
    strings = [value for value in inputs if value.name in answers]
    # Of unknown types, which ONNX Runtime works out.
    unknown = [ValueInfoProto(name=name) for names in answers.values() for name in names]
    questions = open_part(cut(graph, strings, unknown))
    known = [
        make_tensor_value_info(answer.name, _type(answer), ["N"])
        for answer in questions.get_outputs()
    ]
    return FeatureColumns(answers, questions, open_part(cut(graph, [*inputs, *known], outputs)))


def _column_after_column(graph: ModelProto, wanted: Sequence[int]) -> ModelProto:
    names = _columns(graph, ensemble(graph).input[0])
    columns = [names[position] for position in wanted]
    values = [make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in set(columns)]
    part = cut(graph, list(graph.graph.input), values)
    part.graph.initializer.append(from_array(np.zeros(1, np.int64), _FIRST_AXIS))
    rows = [f"{COLUMNS}.{position}" for position in range(len(columns))]
    part.graph.node.extend(
        make_node("Unsqueeze", [column, _FIRST_AXIS], [row])
        for column, row in zip(columns, rows, strict=True)
    )
    part.graph.node.append(make_node("Concat", rows, [COLUMNS], axis=0))
    del part.graph.output[:]
    shape: Shape = [len(columns), "N"]
    part.graph.output.append(make_tensor_value_info(COLUMNS, TensorProto.FLOAT, shape))
    return part


def _columns(graph: ModelProto, matrix: str) -> list[str]:
    """The values that the matrix has side by side, each float32[n]."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    constants = _constants(graph)
    concat = made_by.get(matrix)
    beside = [made_by.get(name) for name in concat.input] if concat else []
    if concat is not None and concat.op_type == "Concat" and _axis(concat) == 1:
        columns = [node for node in beside if node is not None and _stands_up(node, constants)]
        if len(columns) == len(beside):
            return [node.input[0] for node in columns]
    raise ModelRefused("its matrix is not put together from a column for each feature")


def _axis(concat: NodeProto) -> int:
    return next(int(a.i) for a in concat.attribute if a.name == "axis")


def _stands_up(node: NodeProto, constants: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Whether it makes [n, 1] of [n]."""
    axes = constants.get(node.input[1]) if node.op_type == "Unsqueeze" else None
    return axes is not None and axes.tolist() == [1]


def _string_questions(graph: ModelProto) -> dict[str, tuple[str, ...]]:
    """String field -> the values that depend on it alone, row by row, and that others read."""
    strings = {
        value.name
        for value in graph.graph.input
        if value.type.tensor_type.elem_type == TensorProto.STRING
    }
    of: dict[str, str | None] = {name: name for name in strings}
    """Value -> the field that it depends on; None for one and the same in every row."""
    of |= {name: None for name, value in _constants(graph).items() if _is_single(value)}
    asked: dict[str, set[str]] = {}
    for node in graph.graph.node:
        read = reads(node)
        fields = {of.get(name, "") for name in read} - {None}
        if read and node.op_type in _ROW_BY_ROW and len(fields) <= 1 and fields <= strings:
            of |= dict.fromkeys(node.output, next(iter(fields), None))
            continue
        for name in read - strings:
            if (field := of.get(name)) is not None:
                asked.setdefault(field, set()).add(name)
    return {field: tuple(sorted(names)) for field, names in sorted(asked.items())}


def _is_single(value: np.ndarray[Any, Any]) -> bool:
    """Whether it adds no row and no axis to what it is combined with."""
    return value.size == 1 and value.ndim <= 1


def _constants(graph: ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    found = {tensor.name: to_array(tensor) for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            found[node.output[0]] = np.asarray(
                to_array(attribute.t)
                if attribute.type == AttributeProto.TENSOR
                else get_attribute_value(attribute)
            )
    return found


def _type(output: Any) -> int:
    """ONNX's number of what ONNX Runtime calls tensor(float)."""
    name = output.type.removeprefix("tensor(").removesuffix(")").upper()
    return int(TensorProto.DataType.Value(name))
