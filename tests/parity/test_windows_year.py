"""Every flight of a year: Spark, the worker's engine and the quick oracle, bit for bit."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lockstep.lake import days, write_partition
from lockstep.lake.spark_events import windowed_events
from lockstep.progress import Silent
from lockstep.settings import Settings
from lockstep.spark.session import spark_session
from lockstep.training.history import read_windowed
from lockstep.windows.semantics import VALUES
from tests.small_model import columns, departures, flights, windows, with_windows

pytestmark = pytest.mark.long


def bits(table: pa.Table) -> np.ndarray:
    """int32[events, windows], in order of the events' ids."""
    table = table.take(pc.sort_indices(table["event_id"]))
    flat = table[VALUES].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32).reshape(-1, len(windows())).view(np.int32)


def test_all_flights(
    tmp_path: Path,
) -> None:
    lake = str(tmp_path / "lake")
    for source, table in flights().items():
        of = pc.cast(
            table[departures().time if source == departures().source else "arrived_at"], "date32"
        )
        first, last = pc.min(of).as_py(), pc.max(of).as_py()
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            write_partition(lake, source, day, "year", table.filter(pc.equal(of, day)))
    # Before its first day and after its last one the lake does not know that nothing happened.
    seen = sorted(set(days(lake, departures().source)) - {date(2013, 1, 1), date(2014, 1, 1)})

    of_worker = bits(
        read_windowed(Settings(home=tmp_path, lake=lake), departures(), windows(), seen, Silent())
    )
    with spark_session("year", "local[2]", left="nothing", next="nothing") as spark:
        events = windowed_events(spark, lake, departures(), windows(), seen)
        of_spark = bits(events.select("event_id", VALUES).toArrow())

    everything = columns()
    values = with_windows(slice(None))
    matrix = np.stack([values[name] for name in windows().names], axis=1)
    asked = np.isin(
        everything["departed_at"] // 86_400_000_000, [day.toordinal() - 719_163 for day in seen]
    )
    order = np.argsort(everything["event_id"][asked].astype(str))
    of_oracle = matrix[asked][order].view(np.int32)

    assert len(of_spark) == len(of_worker) == len(of_oracle) > 320_000
    assert (of_worker != of_oracle).sum() == 0
    assert (of_spark != of_oracle).sum() == 0
    assert np.isfinite(matrix).any(axis=0).all()
