"""Jobs in Spark: a job file of jobs/ through spark-submit, where the connection says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lockstep.batch.plan import Plan, decode
from lockstep.exits import FOR_GOOD, WRONG_USAGE
from lockstep.launch.failing import told_to_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ScorePartition", "SparkJob"]

_CONNECTION = "spark_default"
_USELESS = re.compile(rf"Error code is: (?:{WRONG_USAGE}|{FOR_GOOD})\b")
"""The hook tells the exit code in its message only."""


class SparkJob(SparkSubmitOperator):
    """A job file, which tells by its exit code whether trying again can help."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(conn_id=_CONNECTION, **arguments)

    def execute(self, context: Context) -> None:
        from lockstep.spark.session import LOCAL_ENVIRONMENT, LOCAL_SPARK

        if _master().startswith("local"):
            self.conf = {**LOCAL_SPARK, **(self.conf or {})}
            self.env_vars = {**LOCAL_ENVIRONMENT, **(self.env_vars or {})}
        try:
            super().execute(context)
        except AirflowException as error:
            if _USELESS.search(str(error)):
                raise AirflowFailException("the job ended for good: its error is above") from error
            raise


class ScorePartition(SparkJob):
    """Scores a plan's day. When the day is published already, it says so and starts no Spark."""

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "plan")

    def __init__(self, *, plan: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.plan = plan

    def execute(self, context: Context) -> None:
        from lockstep.batch.score import reuse, told
        from lockstep.settings import Settings

        with told_to_airflow():
            plan = decode(self.plan, Plan)
            if plan.published and (attempt := reuse(Settings.load(), plan)):
                self.log.info("%s", told(plan, attempt))
                return
        self.application_args = ["--plan", self.plan]
        super().execute(context)


def _master() -> str:
    return BaseHook.get_connection(_CONNECTION).host or ""
