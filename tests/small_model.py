"""Real compiled models, small enough to be made in seconds, and the flights they are made from.

Everything is made once in a test session: `flights()` costs four seconds, a model two.
`small_compiled` has no windows, `windowed_compiled` has a handful.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

from lockstep.compiled_model.manifest import Training
from lockstep.compiling import Compiled, Traced, compile_model, trace
from lockstep.contracts import Columns, Contract, columns_from_arrow
from lockstep.features import Array, Event
from lockstep.windows import Source, Window
from lockstep.windows.declaration import bind
from lockstep.windows.semantics import WindowSet
from models.flight_delay import data
from models.flight_delay.features import fit, row_features
from tests.window_values import window_values

REPOSITORY = Path(__file__).parent.parent
SCHEMAS = REPOSITORY / "schemas/flight_delay"
_JANUARY = slice(0, 20_000)
_FEBRUARY = slice(30_000, 34_000)
_DAY = 86_400_000_000


@cache
def departures() -> Contract:
    """The contract of the events that are scored."""
    return Contract.load(SCHEMAS / "departure.v1.json")


@cache
def arrivals() -> Contract:
    """The contract of the events that hold the label."""
    return Contract.load(SCHEMAS / "arrival.v1.json")


@cache
def flights() -> dict[str, pa.Table]:
    """Lake table -> all events of 2013, in order of event time."""
    made = data.tables(departures(), arrivals())
    return dict(zip((departures().source, arrivals().source), made, strict=True))


@cache
def columns() -> Columns:
    """All departures as columns."""
    return columns_from_arrow(departures(), flights()[departures().source])


@cache
def late() -> np.ndarray[Any, Any]:
    """For each departure whether it arrived more than 15 minutes late; unknown counts as not."""
    arrived = flights()[arrivals().source]
    found = pc.index_in(
        flights()[departures().source]["event_id"], arrived["event_id"].combine_chunks()
    )
    delay = pc.fill_null(pc.take(arrived["arr_delay"], found.combine_chunks()), 0)
    return delay.to_numpy() > 15


def some(rows: slice) -> dict[str, np.ndarray[Any, Any]]:
    """Some departures as columns."""
    return {name: column[rows] for name, column in columns().items()}


@cache
def small_compiled(trees: int = 20, use_case: str = "flight_delay") -> Compiled:
    """A model of the first weeks of January. Another number of trees makes another model."""
    traced = trace(row_features, fit(some(_JANUARY)), departures())
    return _compiled(use_case, trees, traced, small_booster(trees), some(_FEBRUARY))


@cache
def small_booster(trees: int = 20) -> xgboost.Booster:
    """The native model that `small_compiled` is compiled from."""
    traced = trace(row_features, fit(some(_JANUARY)), departures())
    return _booster(trees, traced, some(_JANUARY))


@cache
def windowed_compiled(trees: int = 20, use_case: str = "flight_delay") -> Compiled:
    """The same with `windows()`, which its features read as they are."""
    traced = trace(windowed_features, fit(some(_JANUARY)), departures(), windows())
    booster = windowed_booster(trees)
    return _compiled(use_case, trees, traced, booster, with_windows(_FEBRUARY))


@cache
def windowed_booster(trees: int = 20) -> xgboost.Booster:
    """The native model that `windowed_compiled` is compiled from."""
    traced = trace(windowed_features, fit(some(_JANUARY)), departures(), windows())
    return _booster(trees, traced, with_windows(_JANUARY))


def windowed_features(event: Event, fitted: Mapping[str, Any]) -> dict[str, Array]:
    """The row features, and each window as it is."""
    return row_features(event, fitted) | {name: event[name] for name in windows().names}


@cache
def windows() -> WindowSet:
    """A handful of windows of the flights: each aggregate, two sources, one key and two."""
    left = Source("flight_departures", delay="1min", clock_skew="5s")
    came = Source("flight_arrivals", delay="1min", clock_skew="5s")
    hop, late = "5min", "arr_delay"
    declared = (
        Window("origin_departures_1h", left, by="origin", agg="count", over="1h", hop=hop),
        Window("origin_delay_3h", came, "origin", "mean", "3h", hop, late, scale=1),
        Window("origin_late_3h", came, "origin", "count", "3h", hop, where="arr_delay > 15"),
        Window("dest_gain_3h", came, "dest", "mean", "3h", hop, "dep_delay - arr_delay", 0),
        Window("route_delay_6h", came, ("origin", "dest"), "sum", "6h", hop, late, 0),
        Window("carrier_worst_1h", came, "carrier", "max", "1h", hop, late, 0),
        Window("carrier_best_1h", came, "carrier", "min", "1h", hop, late, 0),
        Window("tail_last_12h", came, "tailnum", "last", "12h", hop, late, 0),
    )
    contracts = {found.source: found for found in (departures(), arrivals())}
    return bind(declared, departures(), contracts.__getitem__)


def with_windows(rows: slice) -> Columns:
    """Some departures as columns, with their window values, float32, by name."""
    scored = some(rows)
    time = scored[departures().time]
    begin, end = time.min(initial=2**62) - _DAY, time.max(initial=0)
    states = {}
    for contract, events in ((departures(), columns()), (arrivals(), _arrived())):
        near = (begin <= events[contract.time]) & (events[contract.time] <= end)
        states[contract.source] = {name: column[near] for name, column in events.items()}
    return scored | window_values(windows(), states, scored, time)


def windows_of(rows: slice) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32[rows, windows] of some departures, as a scorer is given them."""
    values = with_windows(rows)
    return np.stack([values[name] for name in windows().names], axis=1)


@cache
def _arrived() -> Columns:
    return columns_from_arrow(arrivals(), flights()[arrivals().source])


def about_nothing(trees: int = 20) -> Training:
    """What a manifest says of its training, where a test does not care."""
    return Training(
        trained_from="2013-01-01",
        trained_until="2013-01-23",
        tested_from="2013-02-03",
        tested_until="2013-02-08",
        rows=20_000,
        positives=int(late()[_JANUARY].sum()),
        test_rows=4_000,
        test_positives=int(late()[_FEBRUARY].sum()),
        metrics={},
        parameters={"trees": trees},
        profile={},
        scores=(),
    )


def _compiled(
    use_case: str, trees: int, traced: Traced, booster: xgboost.Booster, tested: Columns
) -> Compiled:
    return compile_model(
        use_case=use_case,
        contract=departures(),
        traced=traced,
        native=booster,
        validation=tested,
        training=about_nothing(trees),
        versions={},
        fingerprints={},
    )


def _booster(trees: int, traced: Traced, trained: Columns) -> xgboost.Booster:
    matrix = traced.reader().read(trained)
    rows = xgboost.QuantileDMatrix(matrix, label=late()[_JANUARY])
    parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
    return xgboost.train(parameters, rows, trees)


def small_model(trees: int = 20) -> bytes:
    """The bytes of `small_compiled`."""
    return small_compiled(trees).model.data
