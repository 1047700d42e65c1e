"""Compile features and an estimator into one certified ONNX file. Needs the `train` extra."""

from lockstep.compiled_model.certificate import Certificate
from lockstep.compiling.compile import Compiled, compile_model, rows_to_answer
from lockstep.compiling.graph import FeatureFunction, Traced, trace
from lockstep.compiling.same_features import graph_features, require_own_rows, same_features

__all__ = [
    "Certificate",
    "Compiled",
    "FeatureFunction",
    "Traced",
    "compile_model",
    "graph_features",
    "require_own_rows",
    "rows_to_answer",
    "same_features",
    "trace",
]
