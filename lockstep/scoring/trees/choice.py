"""Which kernel evaluates the trees, and from how many rows on. The one place that decides it.

Measured with `python -m benchmarks.scorer`, see benchmarks/README.md: below these batch sizes
the whole graph in ONNX Runtime is quicker than the way through three parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lockstep.scoring.trees.kernel import Kernel, KernelUnavailable
from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.numpy_kernel import NumpyKernel

if TYPE_CHECKING:
    from lockstep.settings import TreeKernel

__all__ = ["CANDIDATES", "MAKERS", "SMALLEST_BATCH"]

CANDIDATES: Mapping[TreeKernel, tuple[str, ...]] = {
    "auto": ("compiled", "numpy"),
    "compiled": ("compiled", "numpy"),
    "numpy": ("numpy",),
    "onnxruntime": (),
}
"""What is tried, in this order, for each value of LOCKSTEP_TREE_KERNEL."""

SMALLEST_BATCH: Mapping[str, int] = {"compiled": 4, "numpy": 64}


def _compiled(layout: Layout) -> Kernel:
    try:
        from lockstep.scoring.trees.compiled_kernel import CompiledKernel
    except (ImportError, OSError) as error:  # not installed; or a library that will not load
        raise KernelUnavailable(f"llvmlite cannot be imported: {error}") from None
    return CompiledKernel(layout)


MAKERS: Mapping[str, Callable[[Layout], Kernel]] = {"compiled": _compiled, "numpy": NumpyKernel}
