"""Spark reads the lake's files as pyarrow does, or they are refused before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lockstep.errors import LakeError, SparkFailed
from lockstep.lake import read_partition, require_columns
from lockstep.scoring.history import read_events
from lockstep.scoring.session import spark_session, told_by_spark
from tests.lake.nasty_files import CONTRACT, DAY, FILES, lay


@pytest.fixture(scope="module")
def spark(java: str) -> Iterator[SparkSession]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", java)
        with spark_session("footers", "local[1]", left="nothing", next="nothing") as session:
            # Each failed task would log its whole Java stack.
            session.sparkContext.setLogLevel("OFF")
            yield session


def by_spark(spark: SparkSession, lake: Path, path: str) -> pa.Table:
    with told_by_spark(left="nothing", next="nothing"):
        events = read_events(spark, CONTRACT, str(lake), [path], copies=True)
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
