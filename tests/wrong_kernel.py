"""To be imported, or to be a sitecustomize.py: the compiled kernel errs from then on.

It gets the last bit of a batch's last sum wrong.
"""

from __future__ import annotations

from typing import Any

from lockstep.scoring.trees.compiled_kernel import CompiledKernel

_right = CompiledKernel.__call__


def _wrong(self: CompiledKernel, columns: Any) -> Any:
    totals = _right(self, columns)
    totals[-1:].view("int32")[...] ^= 1
    return totals


CompiledKernel.__call__ = _wrong  # type: ignore[method-assign]
