"""Spark reads the lake's files as pyarrow does, or they are refused before; what it fails on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.sql import SparkSession

from lockstep.contracts import NO_LIMITS
from lockstep.errors import (
    LakeError,
    SparkFailed,
    Terminal,
    Transient,
    Unreachable,
    marked,
)
from lockstep.lake import read_partition, require_columns
from lockstep.lake.spark_events import read_events
from lockstep.spark.session import spark_session, told_by_spark
from tests.lake.nasty_files import CONTRACT, DAY, FILES, lay


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("footers", "local[1]", left="nothing", next="nothing") as session:
        # Each failed task would log its whole Java stack.
        session.sparkContext.setLogLevel("OFF")
        yield session


def by_spark(spark: SparkSession, lake: Path, path: str) -> pa.Table:
    with told_by_spark(left="nothing", next="nothing"):
        events = read_events(spark, CONTRACT, str(lake), [path], NO_LIMITS, copies=True)
        return events.toArrow().sort_by("id")


@pytest.mark.parametrize("name", FILES)
def test_what_is_taken_is_read_alike_and_what_spark_fails_on_is_refused(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    nasty = FILES[name]
    path = lay(tmp_path, nasty)
    if nasty.spark_fails:
        # The control: without the judgement, this is what a job ends with. Trying again cannot
        # help, and the error says what Spark said last.
        with pytest.raises(SparkFailed) as failed:
            by_spark(spark, tmp_path, path)
        assert "Spark failed: " in failed.value.message
        assert len(failed.value.message) < 2000
        with pytest.raises(LakeError):
            read_partition(str(tmp_path), CONTRACT, DAY)
    elif nasty.said is None:
        require_columns(str(tmp_path), CONTRACT, [path])
        found = read_partition(str(tmp_path), CONTRACT, DAY)
        assert by_spark(spark, tmp_path, path).cast(found.schema).equals(found.sort_by("id"))


# Made by functions, because Spark's workers cannot import a test.
Task = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def _killed() -> Task:
    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from batches

    return task


def _raising(error: Exception) -> Task:
    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from batches
        raise error

    return task


PASSES = {
    "a worker is killed": (_killed(), "Python worker exited unexpectedly"),
    "a connection breaks": (_raising(ConnectionResetError("by peer")), "ConnectionResetError"),
    "the disk is full": (_raising(OSError(28, "No space left on device")), "No space left"),
    "a task says so": (_raising(RuntimeError(marked(Unreachable("the store is away")))), "away"),
}
STAYS = {
    "code is wrong": (_raising(ValueError("the reason")), "ValueError: the reason"),
    "a file is missing": (_raising(FileNotFoundError("x.txt")), "FileNotFoundError: x.txt"),
    "a task says so": (_raising(RuntimeError(marked(LakeError("no such day")))), "no such day"),
}


@pytest.mark.parametrize("name", PASSES)
def test_what_passes_is_said_to_pass(spark: SparkSession, name: str) -> None:
    task, said = PASSES[name]
    with pytest.raises(Transient, match=said), told_by_spark(left="nothing", next="again"):
        spark.range(3).mapInArrow(task, "id long").collect()


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_is_said_to_stay(spark: SparkSession, name: str) -> None:
    task, said = STAYS[name]
    with pytest.raises(Terminal, match=said), told_by_spark(left="nothing", next="nothing"):
        spark.range(3).mapInArrow(task, "id long").collect()


def test_a_query_that_is_wrong_stays_wrong(spark: SparkSession) -> None:
    with pytest.raises(SparkFailed, match="nowhere"), told_by_spark(left="nothing", next="nothing"):
        spark.range(3).select("nowhere").collect()


def test_a_java_that_has_gone_passes() -> None:
    class Unsaid(Py4JError):  # as Py4JJavaError does, which asks Java for its text
        def __str__(self) -> str:
            raise ConnectionRefusedError(111, "Connection refused")

    for error in (Py4JNetworkError("no answer"), ConnectionRefusedError(111), Unsaid()):
        with pytest.raises(Transient), told_by_spark(left="nothing", next="again"):
            raise error
