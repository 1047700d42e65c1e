"""A scorer that evaluates a model's trees in a kernel, and all else in ONNX Runtime.

For a batch that is large enough (`choice`):

1. row features, in ONNX Runtime: fields and windows to a matrix
2. the trees, in the kernel: the matrix to a sum a row
3. the link, in ONNX Runtime: the sum to score and margin

Smaller batches run as one graph, as `OnnxScorer` does it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.parts import Parts
from lockstep.contracts import Columns
from lockstep.scoring.scorer import Engine, Scores, model_feed, warm_up
from lockstep.scoring.trees.kernel import Kernel

__all__ = ["TreeScorer"]


class TreeScorer:
    """Made by `open_scorer`, which also sees to it that the kernel is to be trusted."""

    def __init__(
        self,
        model: CompiledModel,
        parts: Parts,
        kernel: Kernel,
        smallest_batch: int,
        why: str | None = None,
    ) -> None:
        self.engine = Engine(kernel.name, why)
        self.smallest_batch = smallest_batch
        self._model = model
        self._kernel = kernel
        self._features, self._link = parts.features, parts.link
        self._matrix, self._total = parts.node.input[0], parts.node.output[0]

    def score(self, columns: Columns, windows: np.ndarray[Any, Any] | None = None) -> Scores:
        feed = model_feed(self._model, columns, windows)
        if len(next(iter(feed.values()))) < self.smallest_batch:
            score, margin = self._model.session.run(["score", "margin"], feed)
            return Scores(score, margin)
        return self.score_matrix(self._features.run([self._matrix], feed)[0])

    def score_matrix(self, matrix: np.ndarray[Any, Any]) -> Scores:
        """The answers for row features that are known already, of any number of rows."""
        total = self._kernel(matrix)
        score, margin = self._link.run(["score", "margin"], {self._total: total})
        return Scores(score, margin)

    def warm(self) -> None:
        warm_up(self, self._model)
