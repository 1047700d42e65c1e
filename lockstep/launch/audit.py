"""One DAG for each use case: the audit of a day's stream predictions, as one Spark job.

Like `lockstep.launch.batch` it imports nothing that is slow to import.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, CronDataIntervalTimetable
from airflow.sdk.exceptions import AirflowSkipException

from lockstep.audit.request import encode, request_of
from lockstep.launch.failing import told_to_airflow
from lockstep.launch.runs import dags_of, day_of
from lockstep.launch.spark import SparkJob
from lockstep.pipeline import Pipeline

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AuditWindows", "audit_dag", "audit_dags"]

_DOC = """\
Recomputes the window values that the stream used for its predictions of one UTC day, and compares
them bit for bit with those it stored.

The run of logical date D audits day D; a day on which the stream scored nothing is skipped. It
fails when a value is unexplained: `select * from {use_case}.window_audits where unexplained > 0`
says which. The same without Airflow: `lockstep audit {use_case} --partition D`.
"""


def audit_dags(root: Path) -> dict[str, DAG]:
    """See `lockstep.launch.runs.dags_of`."""
    return dags_of(root, audit_dag)


def audit_dag(pipeline: Pipeline, root: Path) -> DAG:
    """One task. Without [audit].schedule it runs when somebody triggers it with a logical date."""
    use_case, schedule = pipeline.use_case, pipeline.audit.schedule
    with DAG(
        f"{use_case}_audit",
        description=f"Recomputes the windows of a day of {pipeline.topics.events}",
        doc_md=_DOC.format(use_case=use_case),
        schedule=CronDataIntervalTimetable(schedule, timezone="UTC") if schedule else None,
        start_date=datetime.combine(pipeline.batch.start, time(), UTC),
        end_date=datetime.combine(pipeline.batch.end, time(), UTC) if pipeline.batch.end else None,
        catchup=False,
        max_active_runs=1,
        tags=["lockstep", use_case],
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    ) as dag:
        AuditWindows(
            task_id="audit_windows",
            application=str(root / "jobs" / "audit_windows.py"),
            name=f"lockstep audit {use_case}",
            pipeline=pipeline,
        )
    return dag


class AuditWindows(SparkJob):
    """Audits the day of the run's logical date; skipped where the stream scored nothing."""

    def __init__(self, *, pipeline: Pipeline, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pipeline = pipeline

    def execute(self, context: Context) -> None:
        pipeline = self.pipeline
        with told_to_airflow():
            day = day_of(context, self.dag_id)
            request = request_of(pipeline, day, str(context["run_id"]))
            known = _stream_rows(pipeline.use_case, day)
        if request.topic not in known:
            raise AirflowSkipException(
                f"the stream of {request.topic} scored no event of {day}: there is nothing to audit"
            )
        self.application_args = ["--request", encode(request)]
        super().execute(context)


def _stream_rows(use_case: str, day: date) -> dict[str, int]:
    from lockstep.settings import Settings
    from lockstep.warehouse.audits import stream_rows
    from lockstep.warehouse.connect import connect

    with connect(Settings.load(), "scorer", use_case) as connection:
        return stream_rows(connection, day)
