"""What a kernel is, and why there may be none."""

from __future__ import annotations

from typing import Protocol

from lockstep.scoring.trees.tables import Array

__all__ = ["Kernel", "KernelUnavailable"]


class KernelUnavailable(Exception):
    """Why a kernel cannot run on this host."""


class Kernel(Protocol):
    """Evaluates an ensemble. May be called by several threads, and keeps nothing between calls."""

    name: str

    def __call__(self, matrix: Array) -> Array:
        """float32[rows, targets] of float32[rows, features], as ONNX Runtime answers, bit by bit.

        The matrix is contiguous, row after row. Raises ValueError for any other.
        """
        ...
