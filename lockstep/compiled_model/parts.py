"""A compiled model in parts: row features, trees, and the link from their sum to the score.

They are cut out of the file's graph at its one tree ensemble: at the matrix, which it reads, and
at the total, which it gives. Training and the certificate read the matrix, and a faster kernel
takes the place of the trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_tensor_value_info

from lockstep.compiled_model.inference import open_session
from lockstep.compiled_model.opening import CompiledModel
from lockstep.compiled_model.structure import parse
from lockstep.contracts import Columns, model_inputs
from lockstep.errors import ModelRefused

__all__ = [
    "ENSEMBLE",
    "MATRIX",
    "Matrix",
    "Parts",
    "Shape",
    "cut",
    "cut_at_trees",
    "ensemble",
    "features_part",
    "open_part",
    "reads",
    "trees_part",
]

MATRIX = "lockstep.matrix"  # a name that no field has
Shape = list[str | int | None]
ENSEMBLE = "TreeEnsemble"
_CHUNK = 8192


class Matrix:
    """A features graph: what the estimator is trained on, and certified with."""

    def __init__(self, graph: ModelProto, names: Sequence[str], output: str = MATRIX) -> None:
        self.names = tuple(names)
        self._output = output
        self._session = open_session(graph.SerializeToString(deterministic=True))

    def read(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.float32]]:
        """float32[rows, features] of raw columns, windows among them by name."""
        feed = model_inputs(columns, self.names)
        rows = len(feed[self.names[0]])
        parts = [
            self._session.run([self._output], {k: v[at : at + _CHUNK] for k, v in feed.items()})[0]
            for at in range(0, max(rows, 1), _CHUNK)
        ]
        return np.concatenate(parts)


class Parts(NamedTuple):
    """A model from its tree ensemble on; every part is a session."""

    node: NodeProto
    """The ensemble. Its first input is the matrix, its first output the total."""
    trees: Any
    """Matrix to total."""
    link: Any
    """Total to score and margin."""


def cut_at_trees(model: CompiledModel) -> Parts:
    """The ensemble and the link. Raises ModelRefused for a graph that has no such parts."""
    graph = parse(model.data)
    node = ensemble(graph)
    matrix = make_tensor_value_info(node.input[0], TensorProto.FLOAT, ["N", None])
    total = make_tensor_value_info(node.output[0], TensorProto.FLOAT, ["N", None])
    outputs = list(graph.graph.output)
    return Parts(
        node,
        trees=open_part(cut(graph, [matrix], [total])),
        # Refused where it reads more than the total: the matrix, or a field.
        link=open_part(cut(graph, [total], outputs)),
    )


def features_part(model: CompiledModel) -> Matrix:
    """The graph from fields and windows to the matrix."""
    graph = parse(model.data)
    matrix = ensemble(graph).input[0]
    shape: Shape = ["N", len(model.manifest.features)]
    found = make_tensor_value_info(matrix, TensorProto.FLOAT, shape)
    names = (*model.input_names, *model.window_names)
    return Matrix(cut(graph, list(graph.graph.input), [found]), names, matrix)


def trees_part(model: CompiledModel) -> tuple[Any, str]:
    """The graph from the matrix to `score` and `margin`: a session, and its input's name."""
    graph = parse(model.data)
    matrix = ensemble(graph).input[0]
    shape: Shape = ["N", len(model.manifest.features)]
    given = make_tensor_value_info(matrix, TensorProto.FLOAT, shape)
    return open_part(cut(graph, [given], list(graph.graph.output))), matrix


def open_part(part: ModelProto) -> Any:
    """A session for a graph that was cut out."""
    return open_session(part.SerializeToString(deterministic=True))


def ensemble(model: ModelProto) -> NodeProto:
    """The one tree ensemble. Raises ModelRefused where there is none, or several."""
    found: list[NodeProto] = [node for node in model.graph.node if node.op_type == ENSEMBLE]
    if len(found) != 1:
        raise ModelRefused(f"the graph has {len(found)} tree ensembles, not one")
    return found[0]


def cut(
    model: ModelProto, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    """The nodes between `inputs` and `outputs`, in their order."""
    given = {value.name for value in inputs}
    needed = {value.name for value in outputs}
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if needed & set(node.output) and not given & set(node.output):
            kept.append(node)
            needed |= reads(node)
    part = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(kept))
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in needed)
    part.graph.input.extend(value for value in inputs if value.name in needed)
    part.graph.output.extend(outputs)
    return part


def reads(node: NodeProto) -> set[str]:
    """What a node reads, in its branches too."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            for inner in attribute.g.node:
                names |= reads(inner)
    return names
