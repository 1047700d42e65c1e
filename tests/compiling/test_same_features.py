"""NumPy's features and the graph's are the same, or the model gets no certificate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost

from lockstep.compiling import Compiled, compile_model, trace
from lockstep.compiling.edges import edge_columns
from lockstep.compiling.same_features import same_features
from lockstep.contracts import Columns, Contract, Validator
from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators.xgboost.native import XGBoostModel
from lockstep.features import floor_divide, namespace
from tests.small_model import (
    about_nothing,
    columns,
    departures,
    late,
    small_booster,
    small_compiled,
    some,
    windows,
)

TRAINED, TESTED = slice(0, 5_000), slice(5_000, 6_000)


def compiled(features: Any, *, contract: Contract | None = None) -> Compiled:
    traced = trace(features, {}, contract or departures())
    matrix = traced.reader().read(some(TRAINED))
    rows = xgboost.QuantileDMatrix(matrix, label=late()[TRAINED])
    return compile_model(
        use_case="flight_delay",
        contract=contract or departures(),
        traced=traced,
        native=xgboost.train({"objective": "binary:logistic", "nthread": 1}, rows, 3),
        validation=some(TESTED),
        training=about_nothing(),
        versions={},
        fingerprints={},
    )


INEXACT = {
    "exp": lambda xp, event: xp.exp(event["temp"] / 10),
    "log": lambda xp, event: xp.log(event["distance"]),
    "log1p": lambda xp, event: xp.log1p(event["wind_speed"]),
    "tanh": lambda xp, event: xp.tanh(event["temp"] / 50),
    "power": lambda xp, event: event["temp"] ** 3,
}
EXACT = {
    "sqrt": lambda xp, event: xp.sqrt(event["wind_speed"]),
    "square": lambda xp, event: event["temp"] ** 2,
    "round": lambda xp, event: xp.round(event["temp"] / 4),
    "trunc": lambda xp, event: xp.trunc(event["temp"] / 3),
    "remainder": lambda xp, event: (event["temp"] - 60) % 7,
    "whole": lambda xp, event: (event["temp"] - 60) // 7,
    "double": lambda xp, event: xp.astype(xp.astype(event["temp"], xp.float64) * 0.1, xp.float32),
    "wrapped": lambda xp, event: xp.astype(event["departed_at"] * event["departed_at"], xp.float32),
    "smallest": lambda xp, event: xp.minimum(event["temp"], event["wind_gust"]),
    "unseen": lambda xp, event: xp.astype(event["dest"] == "LAX", xp.float32),
}


def made(operations: Any) -> Any:
    def features(event, fitted):
        xp = namespace(event["temp"])
        return {name: make(xp, event) for name, make in operations.items()}

    return features


@pytest.mark.parametrize("name", INEXACT)
def test_a_feature_that_numpy_computes_differently_gets_no_certificate(name):
    with pytest.raises(ModelRefused, match=rf"feature {name!r} .* rows differ") as refused:
        compiled(made({"seats": lambda xp, event: event["seats"], name: INEXACT[name]}))
    assert refused.value.left == "nothing: no model was written"
    assert "arithmetic, comparison" in (refused.value.next or "")


def test_the_row_its_inputs_and_both_values_are_said():
    traced = trace(made({"ratio": INEXACT["log"]}), {}, departures())
    raw, matrix = some(TESTED), traced.reader().read(some(TESTED))
    with pytest.raises(ModelRefused) as refused:
        same_features(traced, raw, matrix, "validation")
    with np.errstate(all="ignore"):
        eager = np.log(raw["distance"].astype(np.float32))
    row = int(np.flatnonzero(eager != matrix[:, 0])[0])
    assert (
        f"row {row} of validation it is {eager[row]} with NumPy and {matrix[row, 0]} in the graph,"
        f" where distance is {raw['distance'][row]}" in refused.value.message
    )


def test_exact_operations_are_certified():
    found = compiled(made(EXACT)).certificate.compared
    assert found["validation"].features_differ == found["edge_events"].features_differ == 0
    # Beyond the contract no event comes, and the matrix's edges are nobody's features.
    assert found["beyond_contract"].features_differ is None
    assert found["edge_features"].features_differ is None


def test_a_difference_that_only_edge_events_show():
    """Recorded flights have wind; a tree's threshold and the contract's bounds are edges."""

    def features(event, fitted):
        wind = event["wind_speed"]
        xp = namespace(wind)
        # A value that no recorded event has goes through an inexact operation.
        odd = xp.where(wind > 190, xp.exp(wind / 50), wind)
        return {"odd": odd, "seats": event["seats"]}

    with pytest.raises(ModelRefused, match=r"'odd' .* of edge_events .* where wind_speed is"):
        compiled(features)


def test_sensitive_values_are_not_said():
    properties = {**departures().document["properties"]}
    properties["temp"] = properties["temp"] | {"x-sensitive": True}
    secret = Contract.from_document({**departures().document, "properties": properties})
    with pytest.raises(ModelRefused, match=r"where temp is \(sensitive\)") as refused:
        compiled(made({"warm": INEXACT["exp"]}), contract=secret)
    assert "it is another, where" in refused.value.message


def test_a_function_that_knows_who_asks():
    """What a notebook sees and what serves are two features here."""

    def features(event, fitted):
        seats = event["seats"]
        return {"seats": seats * 2 if isinstance(seats, np.ndarray) else seats}

    with pytest.raises(ModelRefused, match=r"'seats' .* where seats is"):
        compiled(features)


NEIGHBOURS = {
    "centred": lambda xp, event: event["distance"] - xp.mean(event["distance"]),
    "rank": lambda xp, event: xp.astype(xp.argsort(event["departed_at"]), xp.float32),
    "so_far": lambda xp, event: xp.cumulative_sum(event["distance"]),
    "sorted": lambda xp, event: xp.sort(event["distance"]),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_feature_of_the_events_beside_it(name):
    with pytest.raises(ModelRefused, match=rf"feature {name!r} of an event depends on the events"):
        compiled(made({"seats": lambda xp, event: event["seats"], name: NEIGHBOURS[name]}))


def no_float(event, fitted):
    seats = event["seats"]
    return {"f": seats.astype(float) if isinstance(seats, np.ndarray) else seats}


def other_names(event, fitted):
    return {"a" if isinstance(event["seats"], np.ndarray) else "b": event["seats"]}


def too_short(event, fitted):
    seats = event["seats"]
    return {"f": seats[:-1] if isinstance(seats, np.ndarray) else seats}


def in_place(event, fitted):
    seats = event["flight"]
    if isinstance(seats, np.ndarray):
        seats += 1
    return {"f": event["seats"]}


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (no_float, "feature 'f' is float64 of 1 dimensions with NumPy"),
        (other_names, r"makes the features a with NumPy, and b in the graph"),
        (too_short, r"feature 'f' has 4999 rows with NumPy, of 5000 events"),
        (in_place, r"features.* raised ValueError: .*read-only.* at .*test_same_features\.py:"),
    ],
)
def test_what_numpy_makes_no_features_of(features, said):
    traced = trace(features, {}, departures())
    raw = some(TRAINED)
    with pytest.raises(UsageError, match=said):
        same_features(traced, raw, traced.reader().read(raw), "training")


def test_a_graph_that_fails_on_an_event_that_the_contract_allows():
    """A flight of the number 9999 is allowed, whether or not one was recorded."""

    def features(event, fitted):
        flight = event["flight"]
        xp = namespace(flight)
        return {"place": xp.take(xp.asarray(np.arange(9000, dtype=np.float32)), flight)}

    with pytest.raises(ModelRefused, match=r"fails on row \d+ of edge_events, where flight is 9"):
        compiled(features)


UNSAFE = {
    "by a column": lambda xp, e: e["departed_at"] // e["flight"],
    "the rest of a column": lambda xp, e: e["departed_at"] % e["flight"],
    "by what is not zero": lambda xp, e: (
        e["departed_at"] // xp.where(e["flight"] > 1, e["flight"], 1)
    ),
    "by -1": lambda xp, e: e["flight"] // -1,
    "the rest of -7": lambda xp, e: e["flight"] % -7,
    "by 0": lambda xp, e: e["flight"] % 0,
    "of a null": lambda xp, e: xp.astype(e["seats"], xp.int64) // (e["flight"] * 0 - 1),
    "in 32 bits": lambda xp, e: (
        xp.astype(e["flight"], xp.int32) // xp.asarray([-1], dtype=xp.int32)
    ),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_whole_numbers_are_divided_by_positive_constants_only(name):
    """ONNX Runtime ends the process where the smallest whole number is divided by -1."""

    def features(event, fitted):
        xp = namespace(event["seats"])
        return {"seats": event["seats"], "part": xp.astype(UNSAFE[name](xp, event), xp.float32)}

    with pytest.raises(UsageError, match="feature 'part' divides whole numbers by what may be 0"):
        trace(features, {}, departures())


def test_other_divisions_are_as_before():
    def features(event, fitted):
        xp = namespace(event["seats"])
        whole, float64 = event["departed_at"], xp.float64
        found = [
            *(whole // 7, whole % 7, floor_divide(whole, 60), whole / 7),
            event["seats"] / event["distance"],
            xp.floor(xp.astype(whole, float64) / xp.astype(event["flight"], float64)),
        ]
        return {f"f{n}": xp.astype(value, xp.float32) for n, value in enumerate(found)}

    traced = trace(features, {}, departures())
    raw = some(TRAINED)
    same_features(traced, raw, traced.reader().read(raw), "training")


def test_what_a_features_function_raises_is_said_with_its_line():
    with pytest.raises(UsageError, match=r"raised KeyError: 'nobody' at .*same_features\.py:\d"):
        trace(lambda event, fitted: {"f": event["nobody"]}, {}, departures())


def test_edge_events_keep_the_contract_and_beyond_it_nothing_is_kept():
    model = small_compiled().model
    asked = (departures(), model.manifest.inputs, windows(), XGBoostModel(small_booster()).cuts())
    raw: Columns = edge_columns(*asked, columns(), 5_000, within=True)
    numbers = {f.name for f in departures().fields if f.kind != "string"}
    whole = {**some(slice(0, 5_000)), **{n: raw[n] for n in numbers if n in raw}}
    assert Validator(departures()).violations(whole) == {}
    for name in windows().names:
        assert not np.isinf(raw[name]).any()
        assert np.isnan(raw[name]).any()
    beyond = edge_columns(*asked, columns(), 5_000)
    assert len(Validator(departures()).violations({**whole, **beyond})) > 4_000
