"""The training set of a year of flights: all window values of all departures, from the lake.

    python -m benchmarks.windows_batch [--quick] [--json FILE]

Needs the lake of `lockstep data flight_delay`, and a Java (as `lockstep up` finds it).

seconds_xN   reading the lake, computing every window of flight_delay, bringing the values to
             this process; N times the flights, each copy with keys of its own:
             spark    lockstep.windows.spark in a Spark of this machine, its start not counted
             worker   the live worker's engine, which `lockstep train` uses
             pandas   what one would write by hand: sums a key and hop, running sums, two as-of
                      joins a window. Kept in memory whole; its bits are not looked at.
events_per_s_xN   departures a second, of the same runs

`spark` and `worker` must agree in every bit, or this ends with an error. --quick takes January
alone, once and three times; without it, the year once, three and ten times, and thirty
times (ten million departures) in Spark alone, where the values stay.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.report import Report, arguments
from lockstep.contracts import Contract
from lockstep.exits import ended
from lockstep.lake import days, read_partition, write_partition
from lockstep.lake.spark_events import windowed_events
from lockstep.progress import Silent
from lockstep.settings import Settings
from lockstep.spark.java import use_java
from lockstep.spark.session import spark_session
from lockstep.training.history import read_windowed
from lockstep.training.train import make_plan
from lockstep.windows.semantics import VALUES, WindowSet, WindowSpec

USE_CASE = "flight_delay"
_KEYS = ("tailnum", "origin", "dest", "carrier")


def main() -> None:
    given = arguments(__doc__ or "")
    settings = Settings.load()
    use_java(settings)
    plan = make_plan(settings, USE_CASE)
    contract, windows = plan.events, plan.windows
    known = days(settings.lake, contract.source)
    scored = known[1:32] if given.quick else known[1:-1]
    report = Report("windows_batch")
    for times in (1, 3) if given.quick else (1, 3, 10):
        with tempfile.TemporaryDirectory() as folder:
            copied(settings.lake, folder, [contract, *windows.contracts.values()], times)
            measure(report, f"x{times}", folder, contract, windows, scored)
    if not given.quick:
        with tempfile.TemporaryDirectory() as folder:
            copied(settings.lake, folder, [contract, *windows.contracts.values()], 30)
            seconds = spark_alone(folder, contract, windows, scored)
            report.add("seconds_x30", "spark", [seconds], "s")
    report.publish(given.json)


def measure(
    report: Report,
    name: str,
    lake: str,
    contract: Contract,
    windows: WindowSet,
    scored: Sequence[date],
) -> None:
    """All three, one after the other, on one lake."""
    subjects = {"spark": by_spark, "worker": by_worker, "pandas": by_pandas}
    found = {}
    for subject, run in subjects.items():
        seconds, found[subject] = run(lake, contract, windows, scored)
        beside = None if subject == "spark" else "spark"
        report.add(f"seconds_{name}", subject, [seconds], "s", beside)
        events = len(found[subject])
        report.add(f"events_per_s_{name}", subject, [events / seconds], "1/s", beside)
    if found["spark"] != found["worker"]:
        raise SystemExit(f"{name}: Spark's values are not the worker's")


def by_spark(
    lake: str, contract: Contract, windows: WindowSet, scored: Sequence[date]
) -> tuple[float, dict[str, bytes]]:
    with spark_session("benchmark", "local[2]", left="nothing", next="nothing") as spark:
        started = time.perf_counter()
        events = windowed_events(spark, lake, contract, windows, scored)
        table = events.select(contract.id, VALUES).toArrow()
        return time.perf_counter() - started, bits(table, contract, len(windows))


def spark_alone(lake: str, contract: Contract, windows: WindowSet, scored: Sequence[date]) -> float:
    """Seconds until every value is computed; ten million events are too many to bring here."""
    with spark_session("benchmark", "local[2]", left="nothing", next="nothing") as spark:
        started = time.perf_counter()
        events = windowed_events(spark, lake, contract, windows, scored)
        events.select(contract.id, VALUES).write.format("noop").mode("overwrite").save()
        return time.perf_counter() - started


def by_worker(
    lake: str, contract: Contract, windows: WindowSet, scored: Sequence[date]
) -> tuple[float, dict[str, bytes]]:
    settings = Settings.load().model_copy(update={"lake": lake})
    started = time.perf_counter()
    table = read_windowed(settings, contract, windows, scored, Silent())
    return time.perf_counter() - started, bits(table, contract, len(windows))


def by_pandas(
    lake: str, contract: Contract, windows: WindowSet, scored: Sequence[date]
) -> tuple[float, dict[str, bytes]]:
    started = time.perf_counter()
    events = frame(lake, contract, scored)
    state = {
        source: frame(lake, about, sorted({d for s in scored for d in windows.days(source, s, s)}))
        for source, about in windows.contracts.items()
    }
    for window in windows.windows:
        events[window.name] = one_window(events, state[window.source], windows, window)
    seconds = time.perf_counter() - started
    table = pa.table(
        {
            contract.id: events[contract.id],
            VALUES: list(events[list(windows.names)].to_numpy(np.float32)),
        }
    )
    return seconds, bits(table, contract, len(windows))


def one_window(
    events: pd.DataFrame, state: pd.DataFrame, windows: WindowSet, window: WindowSpec
) -> np.ndarray[Any, Any]:
    """Running sums a key and hop, looked up at the window's end and begin."""
    by, hops = list(window.by), window.over // window.hop
    value = state[window.value] if window.value else pd.Series(1.0, state.index)
    if window.minus:
        value = value - state[window.minus]
    known = state.assign(value=value, hop=state["at"] // window.hop).dropna(subset=["value", *by])
    asked = events[by].assign(
        end=windows.as_of(window, events["at"]) // window.hop - 1, row=np.arange(len(events))
    )
    asked = asked.dropna(subset=by).sort_values("end", kind="stable")
    if window.agg == "last":
        known = known.sort_values("at").drop_duplicates([*by, "hop"], keep="last")
        known = known[[*by, "hop", "value"]].sort_values("hop")
        near = pd.merge_asof(asked, known, left_on="end", right_on="hop", by=by, tolerance=hops - 1)
        result = near["value"].to_numpy()
    else:
        cells = known.groupby([*by, "hop"], sort=True)["value"].agg(["sum", "count"])
        running = cells.groupby(level=by).cumsum().reset_index().sort_values("hop")
        ends = pd.merge_asof(asked, running, left_on="end", right_on="hop", by=by)
        asked = asked.assign(begin=asked["end"] - hops)
        begins = pd.merge_asof(asked, running, left_on="begin", right_on="hop", by=by)
        total = ends["sum"].fillna(0).to_numpy() - begins["sum"].fillna(0).to_numpy()
        count = ends["count"].fillna(0).to_numpy() - begins["count"].fillna(0).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            result = {"count": count, "sum": total, "mean": total / count}[window.agg]
    values = np.full(len(events), 0.0 if window.agg == "count" else np.nan, np.float32)
    values[asked["row"]] = result
    return values


def frame(lake: str, contract: Contract, wanted: Sequence[date]) -> pd.DataFrame:
    """The days' events, with their times as microseconds in `at`."""
    whole = pa.concat_tables([read_partition(lake, contract, day) for day in wanted])
    whole = whole.append_column("at", whole[contract.time].cast(pa.int64()))
    return whole.to_pandas()


def bits(table: pa.Table, contract: Contract, width: int) -> dict[str, bytes]:
    """Event id -> its window values."""
    flat = table[VALUES].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    rows = flat.astype(np.float32).reshape(-1, width)
    return {
        name: row.tobytes() for name, row in zip(table[contract.id].to_pylist(), rows, strict=True)
    }


def copied(lake: str, folder: str, contracts: Sequence[Contract], times: int) -> None:
    """The lake's events, `times` times: ids and keys of each copy are its own."""
    for contract in {contract.source: contract for contract in contracts}.values():
        for day in days(lake, contract.source):
            table = read_partition(lake, contract, day)
            made = []
            for copy in range(times):
                changed = table
                for name in (contract.id, *_KEYS):
                    at = table.schema.get_field_index(name)
                    column = pc.binary_join_element_wise(table[name], str(copy), "")
                    changed = changed.set_column(at, table.schema.field(at), column)
                made.append(changed)
            write_partition(folder, contract.source, day, "copied", pa.concat_tables(made))


if __name__ == "__main__":
    sys.exit(ended(main))
