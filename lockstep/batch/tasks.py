"""Scores of a day into an attempt's own table: what runs on the driver and in each Spark task.

DataFrames and mapInArrow only, so that a Spark Connect session will do. Each task stages its
rows in one transaction of its own, so a task that Spark runs twice stages them once. What a task
found out comes back as one row, and with it an error that trying again cannot help. An error that
passes is raised, so that Spark tries the task again or gives up the job; it is found again in
Spark's own error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from lockstep.errors import LockstepError, Terminal, marked, marked_in
from lockstep.scoring.scorer import DISTRUSTED_NEXT
from lockstep.scoring.spark import SentModel, distrusted, score_batch
from lockstep.warehouse.staging import Attempt, stage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["ScoringAssignment", "TaskFailed", "score_batches", "stage_scores"]

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
class ScoringAssignment:
    """What a task must know. Pickled to the workers."""

    model: SentModel
    attempt: Attempt
    conninfo: str = field(repr=False)
    """libpq connection string of the scorer role, with its password."""


def stage_scores(events: DataFrame, assignment: ScoringAssignment) -> int:
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
    for engine in {outcome["distrusted"] for outcome in outcomes} - {None}:
        log.warning(
            "model %s: workers evaluate trees with %s. %s",
            *(assignment.model.digest[:12], engine, DISTRUSTED_NEXT),
        )
    return sum(outcome["rows"] for outcome in outcomes)


def score_batches(
    assignment: ScoringAssignment, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One task: score and stage its batches, and tell the outcome in one row."""
    rows, told = 0, None
    try:
        rows = _stage(assignment, batches)
    except Terminal as error:
        told = marked(error)
    except LockstepError as error:
        raise TaskFailed(marked(error)) from None
    outcome = {"rows": rows, "error": told, "distrusted": distrusted()}
    yield pa.RecordBatch.from_pylist([outcome], schema=_OUTCOME)


class TaskFailed(Exception):
    """A task met an error that passes. Its text carries the error to the driver."""


def _stage(assignment: ScoringAssignment, batches: Iterable[pa.RecordBatch]) -> int:
    raised: list[LockstepError] = []

    def scored() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                if batch.num_rows:
                    yield score_batch(assignment.model, batch)
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
