"""Scoring in Spark: what runs on the driver and in each Python worker.

DataFrames and mapInArrow only, so that a Spark Connect session will do. The model travels in
the closure; nothing here reads models/, a registry or settings on a worker.

Each task stages its rows in one transaction of its own, so a task that Spark runs twice stages
them once. What a task found out comes back as one row, and with it an error that trying again
cannot help. An error that passes is raised, so that Spark tries the task again or gives up the
job; it is found again in Spark's own error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lockstep import errors
from lockstep.compiled_model import open_model
from lockstep.contracts import Contract, Validator, columns_from_arrow
from lockstep.errors import ContractError, LockstepError, Terminal
from lockstep.scoring.scorer import OnnxScorer
from lockstep.warehouse.staging import Attempt, stage

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = [
    "BATCH_ROWS",
    "Assignment",
    "TaskFailed",
    "read_events",
    "score_batches",
    "stage_scores",
]

BATCH_ROWS = 8192
"""Rows of an Arrow batch: where ONNX Runtime is at its fastest and memory stays small."""
_OUTCOME = pa.schema([pa.field("rows", pa.int64(), nullable=False), pa.field("error", pa.string())])
_OUTCOME_DDL = "rows long, error string"
_TYPES = {"string": "string", "integer": "bigint", "number": "double", "timestamp": "timestamp"}


@dataclass(frozen=True)
class Assignment:
    """What a task must know. Pickled to the workers."""

    model: bytes = field(repr=False)
    digest: str
    attempt: Attempt
    conninfo: str = field(repr=False)
    """libpq connection string of the scorer role, with its password."""


def read_events(
    spark: SparkSession, contract: Contract, lake: str, files: Sequence[str], *, copies: bool
) -> DataFrame:
    """The contract's columns of the given files, types widened as the lake's reader does.

    With `copies`, each identity (id, time) once, the first by batch, file and row: the same
    row that `lockstep.lake.read_partition` keeps. Without, no row is moved between machines.
    """
    schema = ", ".join(f"`{f.name}` {_TYPES[f.kind]}" for f in contract.fields)
    events = (
        spark.read.schema(schema)
        .option("datetimeRebaseMode", "CORRECTED")
        .parquet(*(_uri(lake, path) for path in files))
    )
    return _first_copies(events, contract) if copies else events


def stage_scores(events: DataFrame, assignment: Assignment) -> int:
    """Score `events` and stage every row; returns how many were staged.

    Raises what a task raised: ContractError with the value and its event, Unreachable when the
    warehouse went away. What other tasks have staged stays in the attempt's table.
    """
    from pyspark.errors import PySparkException

    try:
        outcomes = events.mapInArrow(partial(score_batches, assignment), _OUTCOME_DDL).collect()
    except PySparkException as error:
        passing = _TOLD.search(str(error))
        raise (_read(passing[1]) if passing else error) from None
    for outcome in outcomes:
        if outcome["error"]:
            raise _read(outcome["error"])
    return sum(outcome["rows"] for outcome in outcomes)


def score_batches(
    assignment: Assignment, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One task: score and stage its batches, and tell the outcome in one row."""
    rows, told = 0, None
    try:
        rows = _stage(assignment, batches)
    except Terminal as error:
        told = _tell(error)
    except LockstepError as error:
        raise TaskFailed(f"lockstep says {_tell(error)}") from None
    yield pa.RecordBatch.from_arrays(
        [pa.array([rows], pa.int64()), pa.array([told], pa.string())], schema=_OUTCOME
    )


class TaskFailed(Exception):
    """A task met an error that passes. Its text carries the error to the driver."""


_TOLD = re.compile(r"lockstep says (\[.*\])")


def _tell(error: LockstepError) -> str:
    return json.dumps([type(error).__name__, error.message, error.left, error.next])


def _read(told: str) -> LockstepError:
    kind, message, left, next_ = json.loads(told)
    error: LockstepError = getattr(errors, kind)(message, left=left, next=next_)
    return error


def _stage(assignment: Assignment, batches: Iterable[pa.RecordBatch]) -> int:
    raised: list[LockstepError] = []

    def scored() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                if batch.num_rows:
                    yield _scored(_Worker.get(assignment), batch)
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
        self.digest = assignment.digest
        self.contract = model.contract
        self.validator = Validator(model.contract)
        self.scorer = OnnxScorer(model)

    @classmethod
    def get(cls, assignment: Assignment) -> _Worker:
        if cls._open is None or cls._open.digest != assignment.digest:
            cls._open = cls(assignment)
        return cls._open


def _scored(worker: _Worker, batch: pa.RecordBatch) -> pa.RecordBatch:
    contract = worker.contract
    columns = columns_from_arrow(contract, batch)
    wrong = worker.validator.violations(columns)
    if wrong:
        row = min(wrong)
        raise ContractError(
            f"{len(wrong):,} of {batch.num_rows:,} events do not fit {contract.name}, e.g."
            f" {contract.id} {columns[contract.id][row]!r}: {wrong[row]}",
            left="the attempt's own table; nothing that readers see",
            next="correct the events and load their batch into the lake again",
        )
    scores = worker.scorer.score(columns)
    entity = batch.column(contract.entity).cast(pa.string()) if contract.entity else None
    return pa.RecordBatch.from_pydict(
        {
            "event_id": batch.column(contract.id),
            "event_time": batch.column(contract.time),
            "entity": entity if entity is not None else pa.nulls(batch.num_rows, pa.string()),
            "score": pa.array(scores.score),
            "margin": pa.array(scores.margin),
        }
    )


def _first_copies(events: DataFrame, contract: Contract) -> DataFrame:
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    path = f.split(f.col("_metadata.file_path"), "/")
    order: list[Column] = [
        f.element_at(path, -2).alias("batch"),
        f.element_at(path, -1).alias("file"),
        f.col("_metadata.row_index").alias("row"),
    ]
    ranked = events.select(
        "*",
        f.row_number()
        .over(Window.partitionBy(contract.id, contract.time).orderBy(*order))
        .alias("copy"),
    )
    return ranked.where(f.col("copy") == 1).drop("copy")


def _uri(lake: str, path: str) -> str:
    # Hadoop's paths are not percent-encoded, so not Path.as_uri(); and Spark expands patterns.
    whole = (
        f"{lake.rstrip('/')}/{path}" if "://" in lake else f"file://{Path(lake).absolute()}/{path}"
    )
    return re.sub(r"([*?{}\[\]\\])", r"\\\1", whole)
