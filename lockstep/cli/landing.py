"""`lockstep land`: what lies in Kafka, into the lake."""

from __future__ import annotations

import click

from lockstep.cli.output import emit, json_option
from lockstep.cli.progress import Steps
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.spark.java import use_java

__all__ = ["land_events"]


@click.command("land")
@click.argument("use_case")
@click.option("--topic", help="Land a replay into this topic instead of the pipeline's topics.")
@json_option
def land_events(use_case: str, topic: str | None, as_json: bool) -> None:
    """Land new events and state events in the lake, by the UTC date of the event.

    Continues where the last landing ended, and lands each record once, however often it is
    tried. Says which published days have changed by it.
    """
    from lockstep.landing.report import as_document, render
    from lockstep.landing.run import land

    settings = Settings.load()
    pipeline = Pipeline.load(use_case)
    use_java(settings)
    with Steps(quiet=as_json) as steps:
        landing = land(
            settings, pipeline, topic=topic, master=settings.spark_master, progress=steps
        )
    emit(as_document(use_case, landing), render(use_case, landing), as_json)
