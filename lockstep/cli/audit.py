"""`lockstep audit`: what the stream used for a day's predictions, beside what the lake gives."""

from __future__ import annotations

from datetime import date

import click

from lockstep.cli.day_runs import new_run_id, partition_option
from lockstep.cli.output import emit, json_option
from lockstep.cli.progress import Steps
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.spark.java import use_java

__all__ = ["audit"]


@click.command()
@click.argument("use_case")
@partition_option
@click.option("--topic", help="The topic that was scored; default: the use case's own.")
@json_option
def audit(use_case: str, day: date, topic: str | None, as_json: bool) -> None:
    """Recompute the windows of a day's stream predictions and compare them, bit for bit.

    Exit code 1 when a stored window value is neither what the lake gives nor what had been read
    when its row was scored. The result is stored first: see the view window_audits.
    """
    from lockstep.audit.report import as_document, render
    from lockstep.audit.request import request_of
    from lockstep.audit.run import audit_day, require_explained

    settings = Settings.load()
    request = request_of(Pipeline.load(use_case), day, new_run_id(), topic)
    use_java(settings)
    with Steps(quiet=as_json) as steps:
        report = audit_day(settings, request, master=settings.spark_master, progress=steps)
    emit(as_document(report), render(report), as_json)
    require_explained(report)
