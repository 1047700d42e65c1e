"""One DAG for each use case: what is new in Kafka, into the lake, as one Spark job.

Like `lockstep.launch.batch` it imports nothing that is slow to import.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param

from lockstep.launch.runs import dags_of
from lockstep.launch.spark import SparkJob
from lockstep.pipeline import Pipeline

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["LandEvents", "landing_dag", "landing_dags"]

_DOC = """\
Lands what is new in the topics {topics} in the lake, by the UTC date of the event.

A run continues where the last one ended, whatever its logical date. Published days that changed
by it are in `{use_case}.changed_days`; clear their runs of {use_case}_batch to score them again.
With the parameter `topic`, a replay into that topic is landed. The same without Airflow:
`lockstep land {use_case}`.
"""


def landing_dags(root: Path) -> dict[str, DAG]:
    """See `lockstep.launch.runs.dags_of`."""
    return dags_of(root, landing_dag)


def landing_dag(pipeline: Pipeline, root: Path) -> DAG:
    """One task. Without [landing].schedule it runs when somebody triggers it."""
    use_case = pipeline.use_case
    topics = ", ".join([pipeline.topics.events, *pipeline.state.values()])
    with DAG(
        f"{use_case}_land",
        description=f"Lands {topics} in the lake",
        doc_md=_DOC.format(topics=topics, use_case=use_case),
        schedule=pipeline.landing.schedule or None,
        start_date=datetime.combine(pipeline.batch.start, time(), UTC),
        catchup=False,
        # A checkpoint has one reader.
        max_active_runs=1,
        params={"topic": Param(None, type=["null", "string"], description="A replay's topic.")},
        tags=["lockstep", use_case],
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    ) as dag:
        LandEvents(
            task_id="land_events",
            application=str(root / "jobs" / "land_events.py"),
            name=f"lockstep land {use_case}",
            use_case=use_case,
            root=str(root),
        )
    return dag


class LandEvents(SparkJob):
    """Lands the use case's topics, or those of the replay that the run's parameters name."""

    def __init__(self, *, use_case: str, root: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.use_case, self.root = use_case, root

    def execute(self, context: Context) -> None:
        topic = context["params"].get("topic")
        self.application_args = [
            *("--use-case", self.use_case, "--root", self.root),
            *(("--topic", topic) if topic else ()),
        ]
        super().execute(context)
