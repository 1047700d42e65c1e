"""A scorer that evaluates a model's trees in a kernel, and all else in ONNX Runtime.

For a batch that is large enough (`choice`):

1. row features, in ONNX Runtime: fields and windows to the columns that the trees ask for
2. the trees, in the kernel: columns to a sum a row
3. the link, in ONNX Runtime: the sum to score and margin

Smaller batches run as one graph, as `OnnxScorer` does it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.parts import Parts
from lockstep.contracts import EncodedColumns
from lockstep.scoring.row_features import RowFeatures
from lockstep.scoring.scorer import Engine, Scores, model_feed, warm_up
from lockstep.scoring.trees.kernel import Kernel
from lockstep.scoring.trees.layout import Layout

__all__ = ["TreeScorer"]


class TreeScorer:
    """Made by `open_scorer`, which also sees to it that the kernel is to be trusted."""

    def __init__(
        self,
        model: CompiledModel,
        parts: Parts,
        features: RowFeatures,
        layout: Layout,
        kernel: Kernel,
        smallest_batch: int,
        why: str | None = None,
    ) -> None:
        self.engine = Engine(kernel.name, why)
        self.smallest_batch = smallest_batch
        self._model = model
        self._kernel = kernel
        self._layout = layout
        self._features = features
        self._link, self._total = parts.link, parts.node.output[0]

    def score(self, columns: EncodedColumns, windows: np.ndarray[Any, Any] | None = None) -> Scores:
        names = self._model.input_names
        rows = len(columns[names[0]]) if names else len(() if windows is None else windows)
        if rows < self.smallest_batch:
            feed = model_feed(self._model, columns, windows)
            score, margin = self._model.session.run(["score", "margin"], feed)
            return Scores(score, margin)
        return self.score_in_parts(columns, windows)

    def score_in_parts(
        self, columns: EncodedColumns, windows: np.ndarray[Any, Any] | None
    ) -> Scores:
        """With the kernel, however few the events are."""
        return self._finish(self._kernel(self._features.read(columns, windows)))

    def totals(self, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The kernel's float32[n, targets] for row features that are known already."""
        return self._kernel(self._layout.columns_of(matrix))

    def score_matrix(self, matrix: np.ndarray[Any, Any]) -> Scores:
        """The answers for them, of any number of rows."""
        return self._finish(self.totals(matrix))

    def _finish(self, total: np.ndarray[Any, Any]) -> Scores:
        score, margin = self._link.run(["score", "margin"], {self._total: total})
        return Scores(score, margin)

    def warm(self) -> None:
        warm_up(self, self._model)
