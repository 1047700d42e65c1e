"""A Spark session for one piece of work, and how its failures are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lockstep.errors import SparkFailed, Transient, UsageError, marked_in
from lockstep.spark.trouble import spark_account, spark_said, spark_trouble
from lockstep.trouble import Trouble

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["BATCH_ROWS", "LOCAL_ENVIRONMENT", "LOCAL_SPARK", "spark_session", "told_by_spark"]

BATCH_ROWS = 8192
"""Rows of an Arrow batch: where scoring is at its fastest and memory stays small."""

_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()
"""Without blanks or quotes, wherever the package lies: Java's options are parted at them."""

LOCAL_SPARK = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
    # The windows of a whole year are sorted in memory, not on the disk.
    "spark.driver.memory": "2g",
    # Files of this disk are listed faster than a job for it is started.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    # A plan has as many fields as its windows need; shortening one is warned of.
    "spark.sql.debug.maxToStringFields": "1000",
    "spark.driver.extraJavaOptions": (
        # A job of seconds: compiling for the long run costs more than it gives back.
        "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        # From the first line on; `spark.log.level` would come after those of the start.
        f" -Dlog4j2.configurationFile={_LOGGING}"
    ),
}
"""Settings of a Spark that lives inside one machine; a cluster brings its own."""

LOCAL_ENVIRONMENT = {"SPARK_LOCAL_IP": "127.0.0.1"}
"""The same as environment variables, which must be there before its Java starts."""


@contextmanager
def spark_session(name: str, master: str | None, *, left: str, next: str) -> Iterator[SparkSession]:
    """A session on `master` (None: where spark-submit said), stopped at the end.

    Raises what `told_by_spark` does, and UsageError where Spark cannot start at all.
    """
    # The workers' Python must be this one where nothing else was said: it has the same wheel.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        import pyspark  # noqa: F401  whether it is there
    except ImportError as error:
        raise UsageError(f"this needs pyspark: {error}", next="uv sync --extra batch") from None

    with told_by_spark(left=left, next=next):
        spark = _start(name, master)
        try:
            spark.conf.set("spark.sql.session.timeZone", "UTC")
            spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH_ROWS))
            yield spark
        finally:
            spark.stop()


@contextmanager
def told_by_spark(*, left: str, next: str) -> Iterator[None]:
    """Turn what Spark raises into our errors, with `left` and `next`.

    The error that a job itself tells of (`lockstep.errors.marked`), else SparkFailed for what is
    known to stay and Transient for what may pass, each with the innermost cause.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, OSError) as error:
        if told := marked_in(spark_account(error)):
            raise told from None
        said = spark_said(error)
        if spark_trouble(error) is Trouble.FINAL:
            raise SparkFailed(f"Spark failed: {said}", left=left, next=next) from error
        raise Transient(f"Spark failed, which may pass: {said}", left=left, next=next) from error


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
