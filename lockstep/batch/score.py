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

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lockstep.batch.plan import Plan
from lockstep.errors import LakeError, Transient, UsageError
from lockstep.lake import fingerprint, partition_files
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect, conninfo
from lockstep.warehouse.staging import Attempt, begin_attempt, finish_attempt

if TYPE_CHECKING:
    import psycopg
    from pyspark.sql import SparkSession

__all__ = ["LOCAL_ENVIRONMENT", "LOCAL_SPARK", "reuse", "score", "told"]

LOCAL_SPARK = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
    # A job of seconds: compiling for the long run costs more than it gives back.
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
}
"""Settings of a Spark that lives inside one machine; a cluster brings its own."""

LOCAL_ENVIRONMENT = {"SPARK_LOCAL_IP": "127.0.0.1"}
"""The same as environment variables, which must be there before its Java starts."""


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
        _refuse_changed(settings, plan)  # 3
        _score_all(settings, plan, attempt, master)  # 4
        _refuse_changed(settings, plan)
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


def _score_all(settings: Settings, plan: Plan, attempt: Attempt, master: str | None) -> None:
    from lockstep.compiled_model import open_model
    from lockstep.registry.mlflow import fetch_model
    from lockstep.scoring.spark import Assignment, read_events, stage_scores

    data = fetch_model(settings, plan.use_case, plan.model_version, plan.digest)
    contract = open_model(data, digest=plan.digest).contract
    info = conninfo(settings, "scorer", plan.use_case)
    files = partition_files(settings.lake, plan.source, plan.day)
    with _session(f"lockstep {plan.use_case} {plan.day}", master) as spark:
        events = read_events(spark, contract, settings.lake, files, copies=plan.input_copies > 0)
        stage_scores(events, Assignment(data, plan.digest, attempt, info))


@contextmanager
def _session(name: str, master: str | None) -> Iterator[SparkSession]:
    # The workers' Python must be this one where nothing else was said: it has the same wheel.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]
        from pyspark.errors import PySparkException
    except ImportError as error:
        raise UsageError(
            f"scoring in Spark needs pyspark: {error}", next="uv sync --extra batch"
        ) from None

    from lockstep.scoring.spark import BATCH_ROWS

    try:
        spark = _start(name, master)
        try:
            spark.conf.set("spark.sql.session.timeZone", "UTC")
            spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH_ROWS))
            yield spark
        finally:
            spark.stop()
    except (PySparkException, Py4JError, OSError) as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise Transient(
            f"Spark failed: {text or type(error).__name__}",
            left="the attempt's own table, which no reader sees and a later attempt clears",
            next="read Spark's log above; then run the day again",
        ) from error


def _start(name: str, master: str | None) -> SparkSession:
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(name)
    if master is not None and master.startswith("sc://"):
        builder = builder.remote(master)
    elif master is not None:
        builder = builder.master(master)
        if master.startswith("local"):
            os.environ.update(LOCAL_ENVIRONMENT)
            builder = builder.config(map=dict(LOCAL_SPARK))
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise UsageError(
            f"Spark could not start a Java (JAVA_HOME is {os.environ.get('JAVA_HOME')!r}): what it"
            " said is above",
            left="nothing that readers see",
            next="set JAVA_HOME to a Java 17 or newer, or unset it and use `lockstep score`",
        ) from None


def _refuse_changed(settings: Settings, plan: Plan) -> None:
    found = fingerprint(settings.lake, plan.source, plan.day)
    if found != plan.input_fingerprint:
        raise LakeError(
            f"{plan.source}/date={plan.day} changed after it was checked: its fingerprint was"
            f" {plan.input_fingerprint[:12]}, now it is {found[:12]}",
            left="the attempt's own table; nothing that readers see",
            next="run the day again from its first step, once its batches are loaded",
        )
