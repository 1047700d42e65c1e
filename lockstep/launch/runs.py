"""What the DAGs of every use case have in common: how they are found, and the day of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from lockstep.errors import UsageError
from lockstep.pipeline import Pipeline

__all__ = ["dags_of", "day_of"]


def dags_of(root: Path, made: Callable[[Pipeline, Path], DAG]) -> dict[str, DAG]:
    """DAGs by id, one for each models/*/pipeline.toml below the repository's root."""
    models = root / "models"
    dags = [made(Pipeline.load(name, models), root) for name in Pipeline.use_cases(models)]
    return {dag.dag_id: dag for dag in dags}


def day_of(context: Mapping[str, Any], dag_id: str) -> date:
    """The UTC day of a run's logical date. Raises UsageError for a run without one."""
    moment = context.get("logical_date")
    if moment is None:
        raise UsageError(
            f"this run of {dag_id} has no logical date, so it names no day to work on",
            next=f"airflow dags trigger {dag_id} --logical-date 2013-10-01",
        )
    # Airflow's own kind of date is not one that JSON encoders know.
    return date.fromisoformat(moment.astimezone(UTC).date().isoformat())
