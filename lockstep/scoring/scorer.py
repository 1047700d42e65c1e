"""The one interface behind which a compiled model scores, in batch and on the stream."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.golden import golden_columns, golden_windows
from lockstep.contracts import EncodedColumns, model_inputs

__all__ = [
    "DISTRUSTED_NEXT",
    "Engine",
    "OnnxScorer",
    "Scorer",
    "Scores",
    "model_feed",
    "warm_up",
]

_WARM_ROWS = (1, 64, 2048)


class Scores(NamedTuple):
    """The answers for n events, in their order."""

    score: np.ndarray[Any, np.dtype[np.float32]]
    """float32[n]: the probability, or the value."""
    margin: np.ndarray[Any, np.dtype[np.float32]]
    """float32[n]: the sum over the trees, before the link function."""


class Engine(NamedTuple):
    """What evaluates a model's trees in large batches."""

    name: str
    """A kernel, or onnxruntime."""
    why: str | None = None
    """Why it is not a faster one, where that was asked for."""
    distrusted: bool = False
    """Whether a kernel was tried that did not answer as ONNX Runtime does."""

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


DISTRUSTED_NEXT = (
    "Scores are the same, and take longer. next: set LOCKSTEP_TREE_KERNEL to another kernel, or to"
    " onnxruntime to have none tried"
)
"""What to tell people of an engine that is distrusted."""
_REFERENCE = Engine("onnxruntime")


class Scorer(Protocol):
    """Scores columns. One event's answer depends neither on its batch nor on the batch's size.

    Promised to callers: `score` may be called from several threads, uses the calling thread
    only, and keeps nothing between calls. `engine` changes no bit of an answer.
    """

    engine: Engine

    def score(self, columns: EncodedColumns, windows: np.ndarray[Any, Any] | None = None) -> Scores:
        """Score n >= 0 events.

        `columns` are the contract's, as `columns_from_arrow`, `encoded_columns` and the stream's
        decoder make them; more columns than the model reads are fine. `windows` is
        float32[n, windows], in the order of the manifest, and may be left out when the model
        has none.
        """
        ...

    def warm(self) -> None:
        """Score once what the model carries in itself, so that no live event waits for it."""
        ...


class OnnxScorer:
    """The reference: ONNX Runtime over the whole graph, on one thread."""

    def __init__(self, model: CompiledModel, engine: Engine = _REFERENCE) -> None:
        self.engine = engine
        self._model = model

    def score(self, columns: EncodedColumns, windows: np.ndarray[Any, Any] | None = None) -> Scores:
        feed = model_feed(self._model, columns, windows)
        score, margin = self._model.session.run(["score", "margin"], feed)
        return Scores(score, margin)

    def warm(self) -> None:
        warm_up(self, self._model)


def model_feed(
    model: CompiledModel,
    columns: EncodedColumns,
    windows: np.ndarray[Any, Any] | None,
    reads: Container[str] | None = None,
) -> dict[str, Any]:
    """What the graph of a model reads, by name; or only the part of it that is in `reads`.

    Raises KeyError for a column that is missing, ValueError for columns of different lengths and
    for windows of another shape: of all that the model reads.
    """
    fields = model.input_names
    lengths = set(map(len, map(columns.__getitem__, fields)))
    if windows is not None and model.window_names:
        lengths.add(len(windows))
    if len(lengths) > 1:
        raise ValueError(_unequal(columns, fields, windows))
    feed = model_inputs(columns, fields if reads is None else [f for f in fields if f in reads])
    names = model.window_names
    if names:
        if windows is None or windows.shape[1:] != (len(names),):
            shape = None if windows is None else windows.shape
            raise ValueError(f"windows has shape {shape}, not [n, {len(names)}]")
        for position, name in enumerate(names):
            if reads is None or name in reads:
                feed[name] = np.ascontiguousarray(windows[:, position], np.float32)
    return feed


def _unequal(
    columns: EncodedColumns, fields: Sequence[str], windows: np.ndarray[Any, Any] | None
) -> str:
    rows = {name: len(columns[name]) for name in fields}
    if windows is not None:
        rows["windows"] = len(windows)
    told = ", ".join(f"{name} {many:,}" for name, many in rows.items())
    return f"columns have different numbers of rows: {told}"


def warm_up(scorer: Scorer, model: CompiledModel) -> None:
    """Score the golden rows, in batches of several sizes."""
    columns, windows = golden_columns(model.manifest), golden_windows(model.manifest)
    for rows in _WARM_ROWS:
        index = np.arange(rows) % len(windows)
        scorer.score({name: column[index] for name, column in columns.items()}, windows[index])
