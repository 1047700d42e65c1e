"""Real compiled models, small enough to be made in seconds, and the flights they are made from.

Everything is made once in a test session: `flights()` costs four seconds, a model two.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

from lockstep.compiled_model.manifest import Training
from lockstep.compiling import Compiled, compile_model, trace
from lockstep.contracts import Columns, Contract, columns_from_arrow
from models.flight_delay import data
from models.flight_delay.features import features, fit

REPOSITORY = Path(__file__).parent.parent
SCHEMAS = REPOSITORY / "schemas/flight_delay"
_JANUARY = slice(0, 20_000)
_FEBRUARY = slice(30_000, 34_000)


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
    trained, tested = some(_JANUARY), some(_FEBRUARY)
    traced = trace(features, fit(trained), departures())
    booster = small_booster(trees)
    about = Training(
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
    return compile_model(
        use_case=use_case,
        contract=departures(),
        traced=traced,
        booster=booster,
        validation=tested,
        training=about,
        versions={},
        fingerprints={},
    )


@cache
def small_booster(trees: int = 20) -> xgboost.Booster:
    """The native model that `small_compiled` is compiled from."""
    trained = some(_JANUARY)
    matrix = trace(features, fit(trained), departures()).reader().read(trained)
    rows = xgboost.QuantileDMatrix(matrix, label=late()[_JANUARY])
    parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
    return xgboost.train(parameters, rows, trees)


def small_model(trees: int = 20) -> bytes:
    """The bytes of `small_compiled`."""
    return small_compiled(trees).model.data
