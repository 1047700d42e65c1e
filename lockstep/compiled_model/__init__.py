"""A compiled model: one .onnx file, opened from bytes and checked before it may score."""

from lockstep.compiled_model.manifest import Manifest
from lockstep.compiled_model.opening import CompiledModel, digest_of, open_model

__all__ = ["CompiledModel", "Manifest", "digest_of", "open_model"]
