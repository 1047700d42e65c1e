"""Recorded events with the window values that they would have had live: the batch execution's.

1. Spark computes the windows of the wanted days and writes them as Parquet into a
   temporary folder
2. the files are read back and put in order of (event time, id), so that however Spark cut
   the work, the same lake gives the same rows
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.contracts import Columns, Contract, columns_from_arrow
from lockstep.errors import marked_in
from lockstep.features.windows import WindowSet
from lockstep.scoring.history import windowed_events
from lockstep.scoring.session import spark_session
from lockstep.settings import Settings
from lockstep.training.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["read_windowed", "windowed_columns"]

VALUES = "window_values"
_LOCAL = "local[*]"
_POLL_S = 0.5


def read_windowed(
    settings: Settings,
    contract: Contract,
    windows: WindowSet,
    days: Sequence[date],
    progress: Progress,
) -> pa.Table:
    """The events of `days` in order of (event time, id), with `window_values`.

    Starts a Spark on this machine, where the training is, and stops it.
    Raises LakeError for a day that is missing, ContractError for a sum that is beyond 2**53.
    """
    progress.start(f"compute {len(windows)} windows of {len(days)} days in Spark", 100)
    with (
        tempfile.TemporaryDirectory(prefix="lockstep-windows-") as folder,
        spark_session(
            f"lockstep windows {contract.source}",
            settings.spark_master if settings.spark_master.startswith("local") else _LOCAL,
            left="nothing: no model was trained",
            next="read Spark's log above; then run it again",
        ) as spark,
    ):
        with _told(), _watched(spark, progress):
            found = windowed_events(spark, settings.lake, contract, windows, days)
            # Its own default, INT96, is read back as nanoseconds without a zone.
            spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
            found.write.parquet(f"file://{folder}/rows")
        table = pa.concat_tables(
            pq.read_table(path) for path in sorted(Path(folder, "rows").glob("*.parquet"))
        )
    table = table.sort_by([(contract.time, "ascending"), (contract.id, "ascending")])
    progress.finish(f"{table.num_rows:,} events with {len(windows)} windows")
    return table


def windowed_columns(contract: Contract, windows: WindowSet, table: pa.Table) -> Columns:
    """The contract's columns of a table of `read_windowed`, and one float32 column a window."""
    columns = columns_from_arrow(contract, table)
    if not windows:
        return columns
    values = table.column(VALUES).combine_chunks()
    matrix = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), len(windows))
    return columns | {
        name: matrix[:, position].copy() for position, name in enumerate(windows.names)
    }


@contextmanager
def _told() -> Iterator[None]:
    """What Lockstep said inside of a Spark job is raised as it was."""
    try:
        yield
    except Exception as error:
        known = marked_in(str(error))
        if known is None:
            raise
        raise known from None


@contextmanager
def _watched(spark: SparkSession, progress: Progress) -> Iterator[None]:
    """Tell `progress` how far Spark's stages are, in percent."""
    done, over = 0, threading.Event()
    tracker = spark.sparkContext.statusTracker()

    def percent() -> float:
        ran = total = 0
        for job in tracker.getJobIdsForGroup():
            info = tracker.getJobInfo(job)
            stages = [tracker.getStageInfo(s) for s in (info.stageIds if info else ())]
            ran += sum(stage.numCompletedTasks for stage in stages if stage)
            total += sum(stage.numTasks for stage in stages if stage)
        return 100 * ran / total if total else 0

    def watch() -> None:
        nonlocal done
        while not over.wait(_POLL_S):
            now = done
            with suppress(Exception):  # a Spark that ends does not answer; the work itself says so
                now = min(99, int(percent()))
            # Later stages are known when they begin, so the share may fall: it waits then.
            if now > done:
                progress.advance(now - done)
                done = now

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
