"""The one interface behind which a compiled model scores, in batch and on the stream."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.golden import golden_columns, golden_windows
from lockstep.contracts import Columns, model_inputs

__all__ = ["OnnxScorer", "Scorer", "Scores"]

_WARM_ROWS = (1, 64, 2048)


class Scores(NamedTuple):
    """The answers for n events, in their order."""

    score: np.ndarray[Any, np.dtype[np.float32]]
    """float32[n]: the probability, or the value."""
    margin: np.ndarray[Any, np.dtype[np.float32]]
    """float32[n]: the sum over the trees, before the link function."""


class Scorer(Protocol):
    """Scores columns. One event's answer depends neither on its batch nor on the batch's size.

    Promised to callers: `score` may be called from several threads, uses the calling thread
    only, and keeps nothing between calls.
    """

    def score(self, columns: Columns, windows: np.ndarray[Any, Any] | None = None) -> Scores:
        """Score n >= 0 events.

        `columns` are the contract's, as `columns_from_arrow` and the stream's decoder make
        them; more columns than the model reads are fine. `windows` is float32[n, windows], in
        the order of the manifest, and may be left out when the model has none.
        """
        ...

    def warm(self) -> None:
        """Score once what the model carries in itself, so that no live event waits for it."""
        ...


class OnnxScorer:
    """The reference: ONNX Runtime over the whole graph, on one thread."""

    def __init__(self, model: CompiledModel) -> None:
        self._model = model
        self._names = model.input_names
        self._windows = model.window_names

    def score(self, columns: Columns, windows: np.ndarray[Any, Any] | None = None) -> Scores:
        feed = model_inputs(columns, self._names)
        if self._windows:
            if windows is None or windows.shape[1:] != (len(self._windows),):
                shape = None if windows is None else windows.shape
                raise ValueError(f"windows has shape {shape}, not [n, {len(self._windows)}]")
            for position, name in enumerate(self._windows):
                feed[name] = np.ascontiguousarray(windows[:, position], np.float32)
        score, margin = self._model.session.run(["score", "margin"], feed)
        return Scores(score, margin)

    def warm(self) -> None:
        manifest = self._model.manifest
        columns, windows = golden_columns(manifest), golden_windows(manifest)
        for rows in _WARM_ROWS:
            index = np.arange(rows) % len(windows)
            self.score({name: column[index] for name, column in columns.items()}, windows[index])
