"""What the DAGs of every use case have in common: how they are found, and the day of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date
from itertools import product
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from lockstep.errors import UsageError
from lockstep.pipeline import Pipeline

__all__ = ["dags_of", "day_of", "faults_of"]


def dags_of(root: Path, made: Callable[[Pipeline, Path], DAG]) -> dict[str, DAG]:
    """DAGs by id, one for each good models/*/pipeline.toml below the repository's root.

    A use case that is refused, or whose DAG cannot be made, takes no other along:
    `lockstep.launch.refused` tells of it.
    """
    return _each(root, made)[0]


def faults_of(root: Path, *makers: Callable[[Pipeline, Path], DAG]) -> list[str]:
    """What is wrong with use cases: each refused pipeline.toml, each DAG that cannot be made."""
    return _each(root, *makers)[1]


def _each(root: Path, *makers: Callable[[Pipeline, Path], DAG]) -> tuple[dict[str, DAG], list[str]]:
    good, refused = Pipeline.load_all(root / "models")
    dags, faults = {}, [str(error) for error in refused.values()]
    for (name, pipeline), made in product(good.items(), makers):
        try:
            dag = made(pipeline, root)
            dag.validate()  # type: ignore[no-untyped-call]  # as Airflow will
        except Exception as error:  # whatever it is, it is this use case's alone
            faults.append(f"no DAG could be made of models/{name}/pipeline.toml: {error}")
        else:
            dags[dag.dag_id] = dag
    return dags, list(dict.fromkeys(faults))


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
