"""The five steps, in order: the one list that Airflow and `lockstep score` run.

Each takes what the step before found out and adds to it. What a step needs is imported when it
runs: of Great Expectations, ONNX Runtime and Spark, each alone takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lockstep.batch.plan import Pin, Plan, Run
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings

__all__ = ["STEPS", "Outcome", "Step"]


class Outcome(NamedTuple):
    """What a step leaves to the next one, and to whoever reads along."""

    facts: Run
    said: str
    """One sentence for a person."""
    details: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """The same for a program."""


class Step(NamedTuple):
    """A step: what it takes and what it does."""

    takes: type[Run]
    run: Callable[[Settings, Pipeline, Any], Outcome]


def _resolve_model(settings: Settings, pipeline: Pipeline, run: Run) -> Outcome:
    from lockstep.batch.resolve import resolve_model

    pin = resolve_model(settings, run)
    said = (
        f"version {pin.model_version} serves, by approval {pin.approval} (digest {pin.digest[:12]})"
    )
    return Outcome(pin, said)


def _check_events(settings: Settings, pipeline: Pipeline, pin: Pin) -> Outcome:
    from lockstep.batch.check_events import check_events

    plan = check_events(settings, pipeline, pin)
    if plan.published:
        return Outcome(plan, f"{_published(plan)}: its events need no check")
    copies = f", and {plan.input_copies:,} copies of them" if plan.input_copies else ""
    refused = f"; {plan.input_refused:,} rows are refused" if plan.input_refused else ""
    return Outcome(plan, f"{plan.input_rows:,} events may be scored{copies}{refused}")


def _score(settings: Settings, pipeline: Pipeline, plan: Plan) -> Outcome:
    from lockstep.batch.score import score, told

    return Outcome(plan, told(plan, score(settings, plan, master=settings.spark_master)))


def _check_predictions(settings: Settings, pipeline: Pipeline, plan: Plan) -> Outcome:
    from lockstep.batch.check_predictions import check_predictions

    attempt = check_predictions(settings, pipeline, plan)
    if attempt.stage_table is None:
        return Outcome(plan, f"attempt {attempt.number} staged nothing new: nothing to check")
    said = f"{attempt.staged_rows:,} predictions of attempt {attempt.number} may be published"
    return Outcome(plan, said)


def _publish(settings: Settings, pipeline: Pipeline, plan: Plan) -> Outcome:
    from lockstep.batch.check_predictions import attempt_of
    from lockstep.warehouse.connect import connect
    from lockstep.warehouse.publish import publish

    with connect(settings, "scorer", plan.use_case) as connection:
        connection.autocommit = True
        done = publish(connection, attempt_of(connection, plan))
    now = done.current
    did = {
        "attached": f"published {now.rows:,} predictions",
        "switched": f"published {now.rows:,} predictions again that an earlier run had scored",
        "unchanged": f"{_published(plan)} already, with {now.rows:,} predictions: nothing changed",
    }[done.how]
    details = {
        "how": done.how,
        "rows": now.rows,
        "checksum": now.checksum,
        "publish_id": now.publish_id,
        "replaced": done.before if done.changed else None,
        "attempt": now.attempt,
        "model_version": now.model_version,
        "digest": now.digest,
        "input_fingerprint": now.input_fingerprint,
    }
    return Outcome(plan, f"{did} (publish {now.publish_id[:12]})", details)


def _published(plan: Plan) -> str:
    return f"{plan.day} is published from this input and model"


STEPS: Mapping[str, Step] = {
    "resolve_model": Step(Run, _resolve_model),
    "check_events": Step(Pin, _check_events),
    "score": Step(Plan, _score),
    "check_predictions": Step(Plan, _check_predictions),
    "publish": Step(Plan, _publish),
}
