"""lockstep stream, replay, dlq: the worker, and tools around its topics."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from datetime import datetime
from typing import Any

import click

from lockstep.cli.output import emit, json_option
from lockstep.errors import UsageError
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings

__all__ = ["dlq", "letter_text", "replay", "stream"]

_DAY = click.DateTime(["%Y-%m-%d"])


def _streaming(module: str) -> Any:
    """A module of streaming/, which runs from the repository's root and is not installed."""
    try:
        return importlib.import_module(f"streaming.{module}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"cannot import streaming.{module} here: {error}",
            next="run it from the repository's root, with the extra `stream` installed",
        ) from None


@click.command()
@click.argument("use_case")
@click.option("--topic", help="Read this events topic instead of the pipeline's.")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=6066,
    show_default=True,
    help="Pages: /health /ready /metrics.",
)
@click.option("--accept-loss", is_flag=True, help="Go on although the log lost events.")
def stream(use_case: str, topic: str | None, port: int, accept_loss: bool) -> None:
    """Run a streaming worker until SIGTERM, which drains it."""
    Pipeline.load(use_case)
    Settings.load()
    flags = ["--port", str(port), *(["--topic", topic] if topic else [])]
    flags += ["--accept-loss"] if accept_loss else []
    sys.stdout.flush()
    # In this process's place: signals reach the worker itself, which takes those that come before
    # it can heed them as well.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    os.execv(sys.executable, [sys.executable, "-m", "streaming.app", use_case, *flags])  # noqa: S606


@click.command()
@click.argument("use_case")
@click.option("--from", "first", type=_DAY, required=True, help="First day, UTC.")
@click.option("--to", "last", type=_DAY, required=True, help="Last day, inclusive.")
@click.option("--rate", default="max", show_default=True, help="Events a second, or max.")
@click.option("--topic", help="Send to this topic instead of the pipeline's.")
@click.option("--wait/--no-wait", default=True, help="Wait for the answers and time them.")
@click.option("--backlog", is_flag=True, help="All at once, for a worker that is not running yet.")
@json_option
def replay(
    use_case: str,
    first: datetime,
    last: datetime,
    rate: str,
    topic: str | None,
    wait: bool,
    backlog: bool,
    as_json: bool,
) -> None:
    """Send recorded events and the state that they see to Kafka, in order; time the answers."""
    if rate != "max" and not (rate.replace(".", "", 1).isdigit() and float(rate) > 0):
        raise UsageError(
            f"--rate is {rate!r}, not a positive number or max", next="--rate 200, or --rate max"
        )
    if first > last:
        raise UsageError(
            f"--from {first.date()} is after --to {last.date()}: there is no day between them",
            next=f"--from {last.date()} --to {first.date()}",
        )
    result = _streaming("replay").replay(
        Settings.load(),
        Pipeline.load(use_case),
        first.date(),
        last.date(),
        rate=None if rate == "max" else float(rate),
        topic=topic,
        backlog=backlog,
        wait=wait,
        progress=sys.stderr.isatty() or not as_json,
    )
    emit(result.facts(), result.text(), as_json)


@click.group()
def dlq() -> None:
    """Dead letters: events that could not be scored, and why."""


@dlq.command("list")
@click.argument("use_case")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Newest letters shown.",
)
@json_option
def dlq_list(use_case: str, limit: int, as_json: bool) -> None:
    """Show why events were refused; their bytes stay in the topic, or where they came from."""
    letters = _streaming("dlq").newest(Settings.load(), Pipeline.load(use_case), limit)
    text = "\n".join(map(letter_text, letters["letters"]))
    summary = f"{letters['total']} dead letters in {letters['dead_letter_topic']}"
    emit(letters, f"{text}\n{summary}" if text else summary, as_json)


def letter_text(letter: dict[str, Any]) -> str:
    if letter["topic"] is None:
        return "not a letter of a worker: {partition}@{offset}".format(**letter["letter"])
    where = "{topic}[{partition}]@{offset}: {reason}".format(**letter)
    if not letter["left_out"]:
        return where
    parts = ", ".join(letter["left_out"])
    return f"{where} ({letter['bytes']:,} bytes; only there, not in the letter: {parts})"
