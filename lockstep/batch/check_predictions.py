"""Step 4: whether the attempt's staged rows may be published. Great Expectations, in SQL.

The warehouse counts; no row comes back but a few examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from lockstep.batch.plan import Plan
from lockstep.errors import PublishRefused, Unreachable
from lockstep.pipeline import Gates, Pipeline
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect, conninfo
from lockstep.warehouse.staging import Attempt, latest_attempt

if TYPE_CHECKING:
    import psycopg

__all__ = ["attempt_of", "check_predictions"]


def check_predictions(settings: Settings, pipeline: Pipeline, plan: Plan) -> Attempt:
    """Check the newest finished attempt of the plan's run; returns it.

    Rows that were published before were checked before. Raises CheckFailed naming every gate
    that is missed, PublishRefused when the attempt is not of this plan.
    """
    with connect(settings, "scorer", plan.use_case) as connection:
        attempt = attempt_of(connection, plan)
    if attempt.stage_table is not None and attempt.state == "staged":
        _expect_predictions(settings, pipeline.batch.gates, plan, attempt.stage_table)
    return attempt


def attempt_of(connection: psycopg.Connection[Any], plan: Plan) -> Attempt:
    """The newest finished attempt of the plan's run, which must have scored what the plan says."""
    attempt = latest_attempt(connection, plan.run_id, plan.day)
    if attempt.publish_id != plan.publish_id:
        raise PublishRefused(
            f"the newest attempt of the run {plan.run_id!r}, number {attempt.number}, scored"
            f" {attempt.publish_id}, but this run's events and model make {plan.publish_id}",
            left="the attempt's own table; nothing that readers see",
            next="run the score step again",
        )
    return attempt


def _expect_predictions(settings: Settings, gates: Gates, plan: Plan, table: str) -> None:
    from great_expectations.datasource.fluent.interfaces import TestConnectionError

    from lockstep.batch.expectations import context, gate, gxe, unmet

    told: dict[str, Any] = {
        "what": f"the {plan.input_rows:,} predictions of {plan.day} in {table}",
        "left": f"the table {table}, for a look at it; readers see the day as it was",
        "next": f"select * from {plan.use_case}.{table} limit 10; then approve another model, or"
        f" correct the gates in models/{plan.use_case}/pipeline.toml",
    }
    try:
        source = context().data_sources.add_postgres(
            "warehouse", connection_string=_url(settings, plan.use_case), create_temp_table=False
        )
        asset = source.add_table_asset("staged", table_name=table)
        batch = asset.add_batch_definition_whole_table("day").get_batch()
    except TestConnectionError as error:
        raise Unreachable(
            f"the warehouse stopped answering before its rows were checked: {error}",
            left=told["left"],
            next="lockstep status; then run the day again",
        ) from None
    gate(unmet(batch, [gxe.ExpectTableRowCountToEqual(value=plan.input_rows)]), **told)
    expectations = [
        gxe.ExpectColumnValuesToNotBeNull(column="event_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="score"),
        gxe.ExpectColumnValuesToNotBeNull(column="margin"),
        gxe.ExpectColumnValuesToBeBetween(
            column="score", min_value=gates.min_score, max_value=gates.max_score
        ),
        gxe.ExpectColumnMeanToBeBetween(
            column="score", min_value=gates.min_mean_score, max_value=gates.max_mean_score
        ),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["event_id", "event_time"]),
    ]
    gate(unmet(batch, expectations), **told)


def _url(settings: Settings, use_case: str) -> str:
    """The scorer's connection as SQLAlchemy spells it, password included: never print it."""
    known = conninfo_to_dict(conninfo(settings, "scorer", use_case))
    port = known.pop("port", None)
    url = URL.create(
        "postgresql+psycopg",
        username=_text(known.pop("user", None)),
        password=_text(known.pop("password", None)),
        host=_text(known.pop("host", None)),
        port=int(port) if port else None,
        database=_text(known.pop("dbname", None)),
        query={name: str(value) for name, value in known.items()},
    )
    return url.render_as_string(hide_password=False)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
