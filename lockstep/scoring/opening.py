"""Open the scorer of a compiled model: with the fastest kernel for its trees that can be trusted.

1. Cut the graph before and behind its tree ensemble. A model without one, or with trees that no
   kernel can answer exactly, stays with ONNX Runtime.
2. Make the kernel, or the next one where this host does not allow it.
3. Compare it with ONNX Runtime, bit for bit: the ensemble alone on its edge rows, in batches of
   several sizes, and the whole scorer on the golden rows, as they are and mixed.
4. Any difference: ONNX Runtime scores, and the scorer's `engine` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.golden import golden_columns, golden_windows
from lockstep.compiled_model.parts import Parts, cut_at_trees
from lockstep.contracts import Columns, EncodedColumns, EncodedStrings
from lockstep.errors import ModelRefused
from lockstep.scoring.row_features import RowFeatures
from lockstep.scoring.scorer import Engine, OnnxScorer, Scorer
from lockstep.scoring.tree_scorer import TreeScorer
from lockstep.scoring.trees.choice import CANDIDATES, MAKERS, smallest_batch
from lockstep.scoring.trees.edge_rows import edge_rows
from lockstep.scoring.trees.kernel import KernelUnavailable
from lockstep.scoring.trees.layout import lay_out
from lockstep.scoring.trees.tables import Array, NotForKernels, read_trees

if TYPE_CHECKING:
    from lockstep.settings import TreeKernel

__all__ = ["open_scorer"]

log = logging.getLogger("lockstep.scoring")

_SIZES = (1, 63, 64, 65, 127, 128, 129, 4097)
"""Batches of edge rows: around the 64 rows of a word and the 128 of the compiled kernel's block,
beyond the 4,096 of NumPy's chunk; then all the rest."""
_MIXED = 512
"""Golden rows are 64: mixed, they give many more that no caller has sent yet."""
_SEED = 0


def open_scorer(model: CompiledModel, kernel: TreeKernel = "auto") -> Scorer:
    """A scorer for `model`, with the kernel that LOCKSTEP_TREE_KERNEL asks for or allows."""
    if not CANDIDATES[kernel]:
        return OnnxScorer(model)
    try:
        parts = cut_at_trees(model)
        trees = read_trees(parts.node)
        layout = lay_out(trees, len(model.manifest.features))
        features = RowFeatures(model, layout.reads.tolist())
    except (NotForKernels, ModelRefused) as why:
        log.info("model %s: ONNX Runtime evaluates the trees: %s", model.digest[:12], why)
        return OnnxScorer(model, Engine("onnxruntime", str(why)))
    unavailable = None
    for name in CANDIDATES[kernel]:
        try:
            made = MAKERS[name](layout)
            least = smallest_batch(name, len(layout.leaf))
            scorer = TreeScorer(model, parts, features, layout, made, least, unavailable)
            edges = edge_rows(trees, len(model.manifest.features))
            wrong = _wrong(scorer, model, parts, edges)
        except KernelUnavailable as why:
            unavailable = str(why)
            # Whoever asked for it by name is told louder.
            level = logging.INFO if kernel == "auto" else logging.WARNING
            log.log(level, "the %s tree kernel cannot run here: %s", name, why)
            continue
        except Exception as error:
            log.exception("the tree kernel failed")
            wrong = f"failed: {type(error).__name__}: {error}"
        if wrong is None:
            return scorer
        why_not = f"the {name} kernel {wrong}"
        log.warning(
            "model %s: ONNX Runtime evaluates the trees, because %s. Scores are the same, and take"
            " longer. next: set LOCKSTEP_TREE_KERNEL to another kernel, or to onnxruntime to have"
            " none tried",
            model.digest[:12],
            why_not,
        )
        return OnnxScorer(model, Engine("onnxruntime", why_not, distrusted=True))
    return OnnxScorer(model, Engine("onnxruntime", unavailable))


def _wrong(scorer: TreeScorer, model: CompiledModel, parts: Parts, edges: Array) -> str | None:
    """What the kernel does otherwise than ONNX Runtime; None: nothing."""
    rows = np.resize(edges, (max(len(edges), sum(_SIZES)), edges.shape[1]))
    (expected,) = parts.trees.run([parts.node.output[0]], {parts.node.input[0]: rows})
    found = np.concatenate([scorer.totals(rows[part]) for part in _batches(len(rows))])
    differ = _differ(found, expected)
    if differ:
        return f"differs on {differ} of {len(rows)} edge rows"
    columns, windows = _golden(model)
    theirs = OnnxScorer(model).score(columns, windows)
    differ = max(
        _differ(*pair)
        for form in (columns, _encoded(columns))
        for pair in zip(scorer.score_in_parts(form, windows), theirs, strict=True)
    )
    return f"differs on {differ} of {len(windows)} golden rows" if differ else None


def _batches(rows: int) -> Iterator[slice]:
    start = 0
    for size in _SIZES:
        yield slice(start, start + size)
        start += size
    yield slice(start, rows)


def _golden(model: CompiledModel) -> tuple[Columns, Array]:
    """The golden rows, and new ones: each column drawn from the golden rows by itself."""
    draw = np.random.default_rng(_SEED)
    columns, windows = golden_columns(model.manifest), golden_windows(model.manifest)

    def rows(columns: int) -> Array:
        golden = np.repeat(np.arange(len(windows))[:, None], columns, axis=1)
        return np.concatenate([golden, draw.integers(0, len(windows), (_MIXED, columns))])

    return (
        {name: column[rows(1)[:, 0]] for name, column in columns.items()},
        np.take_along_axis(windows, rows(windows.shape[1]), 0),
    )


def _encoded(columns: Columns) -> EncodedColumns:
    """The same, as batch has them."""
    return {
        name: _dictionary(column) if column.dtype == object else column
        for name, column in columns.items()
    }


def _dictionary(strings: Array) -> EncodedStrings:
    """By hand: Arrow would import pandas and open a pool of memory, which a worker never uses."""
    values, codes = np.unique(strings, return_inverse=True)
    encoded = [value.encode() for value in values]
    ends = pa.py_buffer(np.cumsum([0, *map(len, encoded)], dtype=np.int32))
    text = pa.py_buffer(b"".join(encoded))
    return EncodedStrings(
        codes.astype(np.int32), pa.StringArray.from_buffers(len(encoded), ends, text)
    )


def _differ(found: Array, expected: Array) -> int:
    """Rows that differ in any bit."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return len(expected)
    unlike = found.view(np.int32) != expected.view(np.int32)
    return int(unlike.reshape(len(unlike), -1).any(axis=1).sum())
