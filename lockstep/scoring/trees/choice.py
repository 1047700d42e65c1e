"""Which kernel evaluates the trees, and from how many rows on. The one place that decides it.

Measured with `python -m benchmarks.kernel_border`, see benchmarks/README.md: in smaller batches the
whole graph in ONNX Runtime is quicker than the way through parts, each of which takes its time
however few the rows are. What ONNX Runtime takes grows with rows and trees; so does the border.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lockstep.scoring.trees.kernel import Kernel, KernelUnavailable
from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.numpy_kernel import NumpyKernel

if TYPE_CHECKING:
    from lockstep.settings import TreeKernel

__all__ = ["CANDIDATES", "MAKERS", "smallest_batch"]

CANDIDATES: Mapping[TreeKernel, tuple[str, ...]] = {
    "auto": ("compiled", "numpy"),
    "compiled": ("compiled", "numpy"),
    "numpy": ("numpy",),
    "onnxruntime": (),
}
"""What is tried, in this order, for each value of LOCKSTEP_TREE_KERNEL."""

_LEAST: Mapping[str, int] = {"compiled": 1_300, "numpy": 19_200}
"""Rows times trees from which on a kernel is quicker."""


def smallest_batch(name: str, trees: int) -> int:
    """From how many rows on the kernel `name` evaluates so many trees."""
    return -(-_LEAST[name] // trees)


def _compiled(layout: Layout) -> Kernel:
    try:
        from lockstep.scoring.trees.compiled_kernel import CompiledKernel
    except (ImportError, OSError) as error:  # not installed; or a library that will not load
        raise KernelUnavailable(f"llvmlite cannot be imported: {error}") from None
    return CompiledKernel(layout)


MAKERS: Mapping[str, Callable[[Layout], Kernel]] = {"compiled": _compiled, "numpy": NumpyKernel}
