"""Row features as ONNX: the function of models/ is called once, on symbols.

The features graph and the estimator's graph become one graph whose inputs are the contract's
fields, by name, and only those that the features use, and every window, by name too: a window
is one more float32 entry of the event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ndonnx as ndx
import onnx
import spox
import spox.opset.ai.onnx.v21 as op
from onnx import ModelProto, TensorProto
from spox import Var

from lockstep.compiled_model.manifest import Input
from lockstep.compiled_model.opening import GRAPH_TYPES
from lockstep.compiled_model.parts import MATRIX, Matrix
from lockstep.compiling.asking import asking
from lockstep.compiling.divisors import divides_safely
from lockstep.contracts import Contract
from lockstep.errors import UsageError
from lockstep.features import Array, Event
from lockstep.windows.semantics import NO_WINDOWS, WindowSet

__all__ = ["FeatureFunction", "Traced", "trace"]

FeatureFunction = Callable[[Event, Mapping[str, Any]], Mapping[str, Array]]
"""(event, fitted) -> feature name -> float32 array, in the order of the matrix."""

_CODES = "give each string a number: lookup(event[FIELD], {'AA': 0.0, ...}, default=-1.0)"
_DTYPES = {"string": ndx.utf8, "int64": ndx.int64, "float32": ndx.float32}


@dataclass(frozen=True, eq=False)
class Traced:
    """A features graph. `matrix` is the symbol that an estimator's graph goes on from."""

    names: tuple[str, ...]
    inputs: tuple[Input, ...]
    """The contract's fields that the features read."""
    windows: WindowSet
    """Every one of them is read."""
    matrix: Var
    arguments: Mapping[str, Var]
    values: Mapping[str, Var]
    """The symbol of each feature, float32[n]."""
    contract: Contract
    function: FeatureFunction
    fitted: Mapping[str, Any]

    def build(self, outputs: Mapping[str, Var]) -> ModelProto:
        """The graph from fields and windows to `outputs`, without metadata."""
        arguments = {name: self.arguments[name] for name in self._reads}
        model = spox.build(arguments, dict(outputs))
        model.producer_name = "lockstep"
        return model

    def reader(self) -> Matrix:
        """The features graph, ready to run: what the estimator is trained on."""
        graph = self.build({MATRIX: self.matrix})
        return Matrix(graph, self._reads)

    def inputs_of(self, feature: str) -> list[str]:
        """The fields and windows that one feature is made of."""
        # An identity, because a feature may be an input as it is.
        return _used(self.arguments, op.identity(self.values[feature]))

    @property
    def _reads(self) -> list[str]:
        return [*(wanted.name for wanted in self.inputs), *self.windows.names]


def trace(
    features: FeatureFunction,
    fitted: Mapping[str, Any],
    contract: Contract,
    windows: WindowSet = NO_WINDOWS,
) -> Traced:
    """Trace `features` on symbols of the contract's fields and of the windows.

    Raises UsageError naming a feature that is no float32 of one dimension, or that divides whole
    numbers by anything but a positive constant, or a window that no feature reads.
    """
    types = {field.name: GRAPH_TYPES[field.kind] for field in contract.fields}
    types |= dict.fromkeys(windows.names, "float32")
    arrays = {name: ndx.argument(shape=("N",), dtype=_DTYPES[type]) for name, type in types.items()}
    with asking("the features function"):
        found = features(arrays, fitted)
    if not isinstance(found, Mapping):
        raise UsageError(
            f"the features function returns {type(found).__name__}, not names and arrays",
            next='return {"name": xp.astype(..., xp.float32), ...} in the model\'s features.py',
        )
    if not found:
        raise UsageError("the features function returns no features")
    for name, value in found.items():
        _require_name(name)
        _require_numbers(name, value)
    values = {name: value.unwrap_spox() for name, value in found.items()}
    one = op.const([1])
    matrix = op.concat([op.unsqueeze(value, one) for value in values.values()], axis=1)
    arguments = {name: array.unwrap_spox() for name, array in arrays.items()}
    if _parses_text(arguments, matrix):
        # Found one by one only where there is something to find.
        named = [n for n, v in found.items() if _parses_text(arguments, v.unwrap_spox())]
        raise UsageError(
            f"feature {named[0]!r} reads a string as a number: there is none in most strings, and"
            " ONNX Runtime stops at the first of them",
            next=_CODES,
        )
    used = _used(arguments, matrix)
    _require_safe_divisions(arguments, matrix, values)
    idle = [name for name in windows.names if name not in used]
    if idle:
        # A worker would keep its state for nothing.
        raise UsageError(
            f"no feature reads the window{'s' * (len(idle) > 1)} {', '.join(idle)}",
            next=f"read event[{idle[0]!r}] in features.py, or leave the window out",
        )
    inputs = tuple(
        Input(field.name, GRAPH_TYPES[field.kind])
        for field in contract.fields
        if field.name in used
    )
    return Traced(
        tuple(found), inputs, windows, matrix, arguments, values, contract, features, fitted
    )


def _require_numbers(name: str, value: Any) -> None:
    """Raises UsageError saying what the feature is and what makes it float32, one a row."""
    if isinstance(value, ndx.Array) and value.dtype == ndx.float32 and value.ndim == 1:
        return
    fix = "end it with xp.astype(..., xp.float32) in the model's features.py"
    if not isinstance(value, ndx.Array):
        shown = f"{type(value).__name__} that is not made of the event's arrays"
        fix = "compute it from the event, with the functions of xp = namespace(event[FIELD])"
    elif value.dtype in (ndx.utf8, ndx.nutf8):
        shown, fix = "an array of strings", _CODES
    else:
        shown = f"{value.dtype} of {value.ndim} dimensions"
        if value.ndim != 1:
            fix = "return one number for each event: xp.reshape(..., (-1,)) or a column of it"
    raise UsageError(f"feature {name!r} is {shown}, not a float32 array of one dimension", next=fix)


def _parses_text(arguments: Mapping[str, Var], var: Var) -> bool:
    """Whether a string is cast somewhere on the way to `var`."""
    graph = onnx.shape_inference.infer_shapes(
        spox.build(dict(arguments), {"found": op.identity(var)}, drop_unused_inputs=True)
    ).graph
    text = {
        value.name
        for value in (*graph.input, *graph.value_info)
        if value.type.tensor_type.elem_type == TensorProto.STRING
    }
    return any(node.op_type == "Cast" and node.input[0] in text for node in graph.node)


def _used(arguments: Mapping[str, Var], value: Var) -> list[str]:
    """The arguments that a value depends on."""
    return [given.name for given in _graph(arguments, value).graph.input]


def _graph(arguments: Mapping[str, Var], value: Var) -> ModelProto:
    return spox.build(dict(arguments), {MATRIX: value}, drop_unused_inputs=True)


def _require_safe_divisions(
    arguments: Mapping[str, Var], matrix: Var, values: Mapping[str, Var]
) -> None:
    if divides_safely(_graph(arguments, matrix)):
        return
    unsafe = (n for n, v in values.items() if not divides_safely(_graph(arguments, op.identity(v))))
    raise UsageError(
        f"feature {next(unsafe)!r} divides whole numbers by what may be 0 or -1, which ends a"
        " scoring process or the event",
        next="divide by a positive constant, or divide floats:"
        " xp.floor(xp.astype(a, xp.float64) / xp.astype(b, xp.float64))",
    )


def _require_name(name: Any) -> None:
    """A feature's name is one that XGBoost takes too."""
    if not isinstance(name, str) or not name or any(sign in name for sign in "[]<"):
        raise UsageError(
            f"a feature is named {name!r}: a name is text without [, ] and <",
            next="name it otherwise in the model's features.py",
        )
