"""Whether a scorer with a tree kernel answers as ONNX Runtime does, bit for bit.

1. The trees alone, on rows at their edges, in batches around the sizes that kernels work in.
2. The whole scorer on the model's golden rows, as they are and mixed column by column, with
   strings as the stream has them and encoded, as batch does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.golden import golden_columns, golden_windows
from lockstep.compiled_model.parts import Parts
from lockstep.contracts import Columns, encode_strings
from lockstep.scoring.scorer import OnnxScorer
from lockstep.scoring.tree_scorer import TreeScorer
from lockstep.scoring.trees.edge_rows import edge_rows
from lockstep.scoring.trees.tables import Array, Trees

__all__ = ["what_differs"]

_SIZES = (1, 63, 64, 65, 127, 128, 129, 4097)
"""Batches of edge rows: around the 64 rows of a word and the 128 of the compiled kernel's block,
beyond the 4,096 of NumPy's chunk; then all the rest."""
_MIXED = 512
"""Golden rows are 64: mixed, they give many more that no caller has sent yet."""
_SEED = 0


def what_differs(
    scorer: TreeScorer, model: CompiledModel, parts: Parts, trees: Trees
) -> str | None:
    """What `scorer` does otherwise than ONNX Runtime, for people; None: nothing."""
    edges = edge_rows(trees, len(model.manifest.features))
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
        for form in (columns, encode_strings(columns))
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


def _differ(found: Array, expected: Array) -> int:
    """Rows that differ in any bit."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return len(expected)
    unlike = found.view(np.int32) != expected.view(np.int32)
    return int(unlike.reshape(len(unlike), -1).any(axis=1).sum())
