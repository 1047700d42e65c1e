"""What a kernel is, and why there may be none."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.tables import Array

__all__ = ["Kernel", "KernelUnavailable", "require_columns"]


class KernelUnavailable(Exception):
    """Why a kernel cannot run on this host."""


class Kernel(Protocol):
    """Evaluates an ensemble. May be called by several threads, and keeps nothing between calls."""

    name: str

    def __call__(self, columns: Array) -> Array:
        """float32[rows, targets], as ONNX Runtime answers of the matrix, bit by bit.

        `columns` is float32[reads, rows], contiguous: column after column of the matrix, those
        that the layout reads. Raises ValueError for any other array.
        """
        ...


def require_columns(columns: Array, layout: Layout) -> None:
    """Raises ValueError for what is not the columns that a kernel reads."""
    fits = columns.ndim == 2 and len(columns) == len(layout.reads)
    if not fits or columns.dtype != np.float32 or not columns.flags.c_contiguous:
        contiguous = "" if columns.flags.c_contiguous else ", not contiguous"
        raise ValueError(
            f"the columns are {columns.dtype}{list(columns.shape)}{contiguous}; the kernel reads"
            f" contiguous float32[{len(layout.reads)}, n]"
        )
