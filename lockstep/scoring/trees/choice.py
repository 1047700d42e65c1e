"""Which kernel evaluates the trees, and from how many rows on. The one place that decides it.

Measured with `python -m benchmarks.scorer`, see benchmarks/README.md: below these batch sizes
the whole graph in ONNX Runtime is quicker than the way through three parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lockstep.scoring.trees.kernel import Kernel
from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.numpy_kernel import NumpyKernel
from lockstep.settings import TreeKernel

__all__ = ["CANDIDATES", "MAKERS", "SMALLEST_BATCH"]

CANDIDATES: Mapping[TreeKernel, tuple[str, ...]] = {
    "auto": ("numpy",),
    "numpy": ("numpy",),
    "onnxruntime": (),
}
"""What is tried, in this order, for each value of LOCKSTEP_TREE_KERNEL."""

MAKERS: Mapping[str, Callable[[Layout], Kernel]] = {"numpy": NumpyKernel}

SMALLEST_BATCH: Mapping[str, int] = {"numpy": 96}
