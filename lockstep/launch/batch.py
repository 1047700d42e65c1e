"""One DAG for each use case: the five steps of `lockstep.batch`, as Airflow tasks.

Airflow parses DAG files again and again, so this imports Airflow and pipeline.toml's reader;
each task imports what it needs when it runs.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, task

from lockstep.launch.failing import told_to_airflow
from lockstep.launch.runs import dags_of, day_of
from lockstep.launch.spark import ScorePartition
from lockstep.pipeline import Pipeline

__all__ = ["batch_dag", "batch_dags"]

_log = logging.getLogger(__name__)
_DOC = """\
Scores one UTC day of `{source}` with the approved model and publishes it to the warehouse.

The run of logical date D scores day D. Running it again changes nothing unless the events or the
approved model changed. Fill history with
`airflow backfill create --dag-id {dag} --from-date D --to-date D`, or score one day without
Airflow with `lockstep score {use_case} --partition D`.
"""


def batch_dags(root: Path) -> dict[str, DAG]:
    """See `lockstep.launch.runs.dags_of`."""
    return dags_of(root, batch_dag)


def batch_dag(pipeline: Pipeline, root: Path) -> DAG:
    """resolve_model -> check_events -> score -> check_predictions -> publish."""
    use_case, batch = pipeline.use_case, pipeline.batch
    dag_id = f"{use_case}_batch"
    with DAG(
        dag_id,
        description=f"Scores a day of {pipeline.lake_table} and publishes it",
        doc_md=_DOC.format(source=pipeline.lake_table, dag=dag_id, use_case=use_case),
        schedule=CronDataIntervalTimetable(batch.schedule, timezone="UTC"),
        start_date=datetime.combine(batch.start, time(), UTC),
        end_date=datetime.combine(batch.end, time(), UTC) if batch.end else None,
        catchup=batch.catchup,
        # A day's publish is fenced in the warehouse; this only keeps a backlog from crowding.
        max_active_runs=1,
        tags=["lockstep", use_case],
        default_args={
            "retries": 2,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=5),
        },
    ) as dag:
        models = str(root / "models")
        pin: Any = _begin(use_case, models)
        plan: Any = _step.override(task_id="check_events")("check_events", models, pin)
        score = ScorePartition(
            task_id="score",
            application=str(root / "jobs" / "score_partition.py"),
            name=f"lockstep {use_case}",
            plan=plan,
        )
        checked = _step.override(task_id="check_predictions")("check_predictions", models, plan)
        published = _step.override(
            task_id="publish", outlets=[Asset(f"lockstep://{use_case}/predictions")]
        )("publish", models, plan)
        score >> checked >> published
    return dag


@task(task_id="resolve_model")
def _begin(use_case: str, models: str, **context: Any) -> str:
    from lockstep.batch.plan import Run, encode

    with told_to_airflow():
        run = Run(
            use_case=use_case, day=day_of(context, f"{use_case}_batch"), run_id=context["run_id"]
        )
    return _run("resolve_model", models, encode(run))


@task
def _step(step: str, models: str, facts: str) -> str:
    return _run(step, models, facts)


def _run(step: str, models: str, facts: str) -> str:
    """Run one step in this process; facts in and out as one line of JSON."""
    from lockstep.batch.plan import decode, encode
    from lockstep.batch.steps import STEPS
    from lockstep.settings import Settings

    with told_to_airflow():
        given = decode(facts, STEPS[step].takes)
        pipeline = Pipeline.load(given.use_case, Path(models))
        outcome = STEPS[step].run(Settings.load(), pipeline, given)
    _log.info("%s", outcome.said)
    return encode(outcome.facts)
