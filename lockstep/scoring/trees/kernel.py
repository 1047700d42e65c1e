"""What a kernel is, and why there may be none."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.tables import Array

__all__ = ["Kernel", "KernelUnavailable", "require_matrix"]


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


def require_matrix(matrix: Array, layout: Layout) -> None:
    """Raises ValueError for a matrix that is not what a kernel reads."""
    fits = matrix.ndim == 2 and matrix.shape[1] == layout.columns
    if not fits or matrix.dtype != np.float32 or not matrix.flags.c_contiguous:
        contiguous = "" if matrix.flags.c_contiguous else ", not contiguous"
        raise ValueError(
            f"the matrix is {matrix.dtype}{list(matrix.shape)}{contiguous}; the kernel reads"
            f" contiguous float32[n, {layout.columns}]"
        )
