"""`lockstep score` and `lockstep compare`: one day of one use case."""

from __future__ import annotations

import sys
import time
from datetime import date
from typing import Any

import click

from lockstep.cli.day_runs import new_run_id, partition_option
from lockstep.cli.output import emit, json_option, visible
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.spark.java import use_java

__all__ = ["compare", "score"]


@click.command()
@click.argument("use_case")
@partition_option
@json_option
def score(use_case: str, day: date, as_json: bool) -> None:
    """Score one day without Airflow: the same five steps, the same code.

    Running it again changes nothing: the same events and model are the same publish.
    """
    from lockstep.batch.plan import Run
    from lockstep.batch.steps import STEPS

    settings = Settings.load()
    pipeline = Pipeline.load(use_case)
    use_java(settings)
    run_id = new_run_id()
    facts = Run(use_case=use_case, day=day, run_id=run_id)
    details: dict[str, Any] = {}
    for name, step in STEPS.items():
        started = time.monotonic()
        outcome = step.run(settings, pipeline, facts)
        facts, details = outcome.facts, outcome.details
        if not as_json:
            said = visible(outcome.said)
            click.echo(f"{name:<18} {time.monotonic() - started:5.1f} s  {said}")
    emit(
        {"use_case": use_case, "partition": day, "run_id": run_id, **details},
        f"look at it: select * from {use_case}.predictions where event_date = '{day}' limit 10",
        as_json,
    )


@click.command()
@click.argument("use_case")
@partition_option
@click.option("--topic", help="Compare with this topic's predictions only.")
@json_option
def compare(use_case: str, day: date, topic: str | None, as_json: bool) -> None:
    """Compare a day's published batch scores with the stream's, bit for bit.

    Exit code 1 when a score differs, or when one of them lacks an event. Events that came in
    copies which contradict are counted by themselves.
    """
    from lockstep.comparison import as_document, compare_day, render
    from lockstep.warehouse.connect import connect

    settings = Settings.load()
    Pipeline.load(use_case)
    with connect(settings, "analyst", use_case) as connection:
        found = compare_day(connection, day, topic)
    emit(as_document(found), render(found), as_json)
    if not found.same:
        sys.exit(1)
