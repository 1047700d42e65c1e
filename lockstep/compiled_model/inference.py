"""ONNX Runtime sessions whose results do not depend on the size of the batch."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from lockstep.errors import ModelRefused

__all__ = ["open_session"]


def open_session(data: bytes) -> Any:
    """An InferenceSession over ONNX bytes: one thread, no spinning, on the CPU.

    With two intra-op threads, sums over trees are split by batch size and 87% of the results
    change. Raises ModelRefused with ONNX Runtime's reason when it will not load them.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base class
        raise ModelRefused(f"ONNX Runtime {ort.__version__} refuses the model: {error}") from None
