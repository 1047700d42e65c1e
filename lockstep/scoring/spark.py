"""Scoring in Spark: what runs on the driver and in each Python worker.

DataFrames and mapInArrow only, so that a Spark Connect session will do. The model travels in
the closure; nothing here reads models/, a registry or settings on a worker.

Each task stages its rows in one transaction of its own, so a task that Spark runs twice stages
them once. What a task found out comes back as one row, and with it an error that trying again
cannot help. An error that passes is raised, so that Spark tries the task again or gives up the
job; it is found again in Spark's own error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lockstep.compiled_model import open_model
from lockstep.contracts import Validator, encoded_columns
from lockstep.errors import ContractError, LockstepError, Terminal, marked, marked_in
from lockstep.scoring.scorer import DISTRUSTED_NEXT
from lockstep.scoring.trusted import open_scorer
from lockstep.warehouse.staging import Attempt, stage
from lockstep.windows.semantics import VALUES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lockstep.settings import TreeKernel

__all__ = [
    "Assignment",
    "TaskFailed",
    "score_batch",
    "score_batches",
    "stage_scores",
]

_OUTCOME = pa.schema(
    [
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("distrusted", pa.string()),
    ]
)
_OUTCOME_DDL = "rows long, error string, distrusted string"

log = logging.getLogger("lockstep.scoring")


@dataclass(frozen=True)
class Assignment:
    """What a task must know. Pickled to the workers."""

    model: bytes = field(repr=False)
    digest: str
    attempt: Attempt
    conninfo: str = field(repr=False)
    """libpq connection string of the scorer role, with its password."""
    tree_kernel: TreeKernel = "auto"


def stage_scores(events: DataFrame, assignment: Assignment) -> int:
    """Score `events` and stage every row; returns how many were staged.

    Warns of workers whose tree kernel did not answer as ONNX Runtime does, and does not serve.
    Raises what a task raised: ContractError with the value and its event, Unreachable when the
    warehouse went away. What other tasks have staged stays in the attempt's table.
    """
    from pyspark.errors import PySparkException

    try:
        outcomes = events.mapInArrow(partial(score_batches, assignment), _OUTCOME_DDL).collect()
    except PySparkException as error:
        raise (marked_in(str(error)) or error) from None
    for outcome in outcomes:
        if told := marked_in(outcome["error"] or ""):
            raise told
    for distrusted in {outcome["distrusted"] for outcome in outcomes} - {None}:
        log.warning(
            "model %s: workers evaluate trees with %s. %s",
            *(assignment.digest[:12], distrusted, DISTRUSTED_NEXT),
        )
    return sum(outcome["rows"] for outcome in outcomes)


def score_batches(
    assignment: Assignment, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One task: score and stage its batches, and tell the outcome in one row."""
    rows, told = 0, None
    try:
        rows = _stage(assignment, batches)
    except Terminal as error:
        told = marked(error)
    except LockstepError as error:
        raise TaskFailed(marked(error)) from None
    outcome = {"rows": rows, "error": told, "distrusted": _Worker.distrusted()}
    yield pa.RecordBatch.from_pylist([outcome], schema=_OUTCOME)


class TaskFailed(Exception):
    """A task met an error that passes. Its text carries the error to the driver."""


def _stage(assignment: Assignment, batches: Iterable[pa.RecordBatch]) -> int:
    raised: list[LockstepError] = []

    def scored() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                if batch.num_rows:
                    yield score_batch(assignment, batch)
        except LockstepError as error:
            # The database driver pulls these batches, and would turn the error into its own.
            raised.append(error)
            raise

    try:
        return stage(assignment.conninfo, assignment.attempt, scored())
    except Exception:
        if raised:
            raise raised[0] from None
        raise


class _Worker:
    """One opened model in this Python process, for all the tasks that Spark gives it."""

    _open: _Worker | None = None

    def __init__(self, assignment: Assignment) -> None:
        model = open_model(assignment.model, digest=assignment.digest)
        self.opened_for = (assignment.digest, assignment.tree_kernel)
        self.contract = model.contract
        self.validator = Validator(model.contract)
        # In this process, because compiled code cannot be sent: once, before the first batch.
        self.scorer = open_scorer(model, assignment.tree_kernel)

    @classmethod
    def get(cls, assignment: Assignment) -> _Worker:
        wanted = (assignment.digest, assignment.tree_kernel)
        if cls._open is None or cls._open.opened_for != wanted:
            cls._open = cls(assignment)
        return cls._open

    @classmethod
    def distrusted(cls) -> str | None:
        """What evaluates the trees, and why, where a kernel was found to answer otherwise."""
        engine = cls._open.scorer.engine if cls._open else None
        return str(engine) if engine and engine.distrusted else None


def score_batch(assignment: Assignment, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows to stage for a batch of events. Raises ContractError for one that does not fit."""
    worker = _Worker.get(assignment)
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
