"""Step 3: score every event of the day into a table of this attempt's own.

    1. draw an attempt's number in the warehouse, once a try
    2. done already when the warehouse holds this very publish
    3. the input must be what was checked: its fingerprint, before and after
    4. Spark reads the lake, scores and stages; each task in a transaction of its own
    5. seal the attempt: its rows are counted and summed up

Killed at any point, it leaves at most a stage table that no reader sees and that a later
attempt clears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockstep.batch.plan import Plan
from lockstep.errors import LakeError
from lockstep.lake import input_fingerprint, partition_files
from lockstep.settings import Settings
from lockstep.spark.session import spark_session
from lockstep.warehouse.connect import connect, conninfo
from lockstep.warehouse.staging import Attempt, begin_attempt, finish_attempt

if TYPE_CHECKING:
    import psycopg

    from lockstep.compiled_model import CompiledModel
    from lockstep.windows.semantics import WindowSet

__all__ = ["reuse", "score", "told"]


def reuse(settings: Settings, plan: Plan) -> Attempt | None:
    """An attempt that needs no scoring, as the warehouse holds this publish; otherwise None."""
    with connect(settings, "scorer", plan.use_case) as connection:
        connection.autocommit = True
        attempt = _begin(connection, plan)
        return None if attempt.needs_scoring else attempt


def score(settings: Settings, plan: Plan, *, master: str | None = None) -> Attempt:
    """Run the step. `master` is where Spark runs; None: where spark-submit said.

    Raises LakeError when the input changed since it was checked, ContractError for an event
    that does not fit, ModelRefused for bytes that are not the plan's, and a Transient error for
    a service that does not answer.
    """
    with connect(settings, "scorer", plan.use_case) as connection:
        # Not inside a transaction while Spark works: an idle one is ended by the server.
        connection.autocommit = True
        attempt = _begin(connection, plan)  # 1
        if not attempt.needs_scoring:  # 2
            return attempt
        model = _model(settings, plan)
        _refuse_changed(settings, plan, model.windows)  # 3
        _score_all(settings, plan, attempt, model, master)  # 4
        _refuse_changed(settings, plan, model.windows)
        return finish_attempt(connection, attempt)  # 5


def told(plan: Plan, attempt: Attempt) -> str:
    """What the step did, in a sentence."""
    if attempt.stage_table is None:
        return (
            f"the warehouse holds {plan.day} as scored from this input and model"
            f" (publish {plan.publish_id[:12]}): nothing was scored"
        )
    return f"attempt {attempt.number} scored {attempt.staged_rows:,} events"


def _begin(connection: psycopg.Connection[Any], plan: Plan) -> Attempt:
    return begin_attempt(
        connection,
        day=plan.day,
        publish_id=plan.publish_id,
        digest=plan.digest,
        model_version=plan.model_version,
        approval=plan.approval,
        input_fingerprint=plan.input_fingerprint,
        input_rows=plan.input_rows,
        run_id=plan.run_id,
    )


def _model(settings: Settings, plan: Plan) -> CompiledModel:
    from lockstep.compiled_model import open_model
    from lockstep.registry.mlflow import fetch_model

    data = fetch_model(settings, plan.use_case, plan.model_version, plan.digest)
    return open_model(data, digest=plan.digest)


def _score_all(
    settings: Settings, plan: Plan, attempt: Attempt, model: CompiledModel, master: str | None
) -> None:
    from lockstep.batch.tasks import ScoringAssignment, stage_scores
    from lockstep.lake.spark_events import read_events, windowed_events
    from lockstep.scoring.spark import SentModel

    lake, contract = settings.lake, model.contract
    copies = plan.input_copies + plan.input_refused > 0
    info = conninfo(settings, "scorer", plan.use_case)
    with spark_session(
        f"lockstep {plan.use_case} {plan.day}",
        master,
        left="the attempt's own table, which no reader sees and a later attempt clears",
        next="read Spark's log above; then run the day again",
    ) as spark:
        if model.windows:
            events = windowed_events(
                spark, lake, contract, model.windows, [plan.day], copies=copies
            )
        else:
            files = partition_files(lake, plan.source, plan.day)
            limits = model.windows.limits
            events = read_events(spark, contract, lake, files, limits, copies=copies)
        sent = SentModel(model.data, plan.digest, settings.tree_kernel)
        stage_scores(events, ScoringAssignment(sent, attempt, info))


def _refuse_changed(settings: Settings, plan: Plan, windows: WindowSet) -> None:
    found = input_fingerprint(settings.lake, plan.source, plan.day, windows)
    if found != plan.input_fingerprint:
        what = f"{plan.source}/date={plan.day}"
        if windows:
            what += f", or what its windows see of {', '.join(windows.sources)},"
        raise LakeError(
            f"{what} changed after it was checked: its fingerprint was"
            f" {plan.input_fingerprint[:12]}, now it is {found[:12]}",
            left="the attempt's own table; nothing that readers see",
            next="run the day again from its first step, once its batches are loaded",
        )
