"""Scoring in a Python worker of Spark: a batch of events in, a batch of rows to store out.

The model travels in the closure; nothing here reads models/, a registry or settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lockstep.compiled_model import open_model
from lockstep.contracts import Validator, encoded_columns
from lockstep.errors import ContractError
from lockstep.scoring.trusted import open_scorer
from lockstep.windows.semantics import VALUES

if TYPE_CHECKING:
    from lockstep.settings import TreeKernel

__all__ = ["SentModel", "distrusted", "score_batch"]


@dataclass(frozen=True)
class SentModel:
    """What a worker scores with. Pickled to the workers."""

    data: bytes = field(repr=False)
    digest: str
    tree_kernel: TreeKernel = "auto"


class _Worker:
    """One opened model in this Python process, for all the tasks that Spark gives it."""

    opened: _Worker | None = None

    def __init__(self, sent: SentModel) -> None:
        model = open_model(sent.data, digest=sent.digest)
        self.opened_for = (sent.digest, sent.tree_kernel)
        self.contract = model.contract
        self.validator = Validator(model.contract)
        # In this process, because compiled code cannot be sent: once, before the first batch.
        self.scorer = open_scorer(model, sent.tree_kernel)

    @classmethod
    def get(cls, sent: SentModel) -> _Worker:
        wanted = (sent.digest, sent.tree_kernel)
        if cls.opened is None or cls.opened.opened_for != wanted:
            cls.opened = cls(sent)
        return cls.opened


def distrusted() -> str | None:
    """What evaluates the trees in this process, and why, where a kernel was found to answer
    otherwise than ONNX Runtime."""
    engine = _Worker.opened.scorer.engine if _Worker.opened else None
    return str(engine) if engine and engine.distrusted else None


def score_batch(sent: SentModel, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows to store for a batch of events, with their window values where it has some.

    Raises ContractError for an event that does not fit.
    """
    worker = _Worker.get(sent)
    contract = worker.contract
    columns = encoded_columns(contract, batch)
    wrong = worker.validator.violations(columns)
    if wrong:
        row = min(wrong)
        raise ContractError(
            f"{len(wrong):,} of {batch.num_rows:,} events do not fit {contract.name}, e.g."
            f" {contract.id} {batch.column(contract.id)[row].as_py()!r}: {wrong[row]}",
            left="the attempt's own table; nothing that readers see",
            next="correct the events and load their batch into the lake again",
        )
    windows = _windows(batch)
    scores = worker.scorer.score(columns, windows)
    entity = batch.column(contract.entity).cast(pa.string()) if contract.entity else None
    rows = {
        "event_id": batch.column(contract.id),
        "event_time": batch.column(contract.time),
        "entity": entity if entity is not None else pa.nulls(batch.num_rows, pa.string()),
        "score": pa.array(scores.score),
        "margin": pa.array(scores.margin),
    }
    if windows is not None:
        rows[VALUES] = _listed(windows)
    return pa.RecordBatch.from_pydict(rows)


def _windows(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """float32[n, windows] when the events come with window values."""
    if VALUES not in batch.schema.names:
        return None
    values: np.ndarray[Any, np.dtype[np.float32]]
    values = batch.column(VALUES).flatten().to_numpy(zero_copy_only=False)
    return values.reshape(batch.num_rows, -1)


def _listed(windows: np.ndarray[Any, np.dtype[np.float32]]) -> pa.Array:
    """The same as Arrow's lists of one length."""
    rows, width = windows.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(windows.ravel()))
