"""Compile features and an estimator into one certified ONNX file. Needs the `train` extra."""

from lockstep.compiling.compile import Compiled, Matrix, compile_model
from lockstep.compiling.graph import FeatureFunction, Traced, trace

__all__ = [
    "Certificate",
    "Compiled",
    "FeatureFunction",
    "Matrix",
    "Traced",
    "compile_model",
    "trace",
]
