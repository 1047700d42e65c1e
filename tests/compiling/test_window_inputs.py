"""Windows in a compiled model: inputs like fields, in its golden vectors, its edges, its proof."""

from __future__ import annotations

import numpy as np
import pytest

from lockstep.compiled_model.golden import golden_windows
from lockstep.compiled_model.parts import features_part, trees_part
from lockstep.compiling import trace
from lockstep.compiling.edges import edge_columns
from lockstep.contracts import Contract, model_inputs
from lockstep.errors import UsageError
from lockstep.estimators.xgboost.native import XGBoostModel
from lockstep.scoring import OnnxScorer
from lockstep.windows import Source, Window
from lockstep.windows.declaration import bind
from lockstep.windows.reference import Record, window_values
from tests.small_model import (
    arrivals,
    departures,
    flights,
    some,
    windowed_booster,
    windowed_compiled,
    windows,
    windows_of,
    with_windows,
)

APRIL = slice(70_000, 71_000)


def test_the_stand_in_gives_what_the_reference_gives():
    rows = slice(8_000, 8_060)
    first = some(rows)["departed_at"][0] - 14 * 3_600_000_000
    last = some(rows)["departed_at"][-1]
    states = {}
    for contract in (departures(), arrivals()):
        table = flights()[contract.source]
        events = [
            {**event, contract.time: micros(event[contract.time])}
            for event in table.slice(0, 12_000).to_pylist()
        ]
        near = [event for event in events if first <= event[contract.time] <= last]
        states[contract.source] = [Record(event, event[contract.time]) for event in near]
    scored = some(rows)
    asked = [
        (
            int(scored["departed_at"][row]),
            {key: scored[key][row] or None for key in ("origin", "dest", "carrier", "tailnum")},
        )
        for row in range(60)
    ]
    rows_of = [window_values(windows(), states, time, event) for time, event in asked]
    expected = np.array(rows_of, np.float32)
    np.testing.assert_array_equal(windows_of(rows).view(np.int32), expected.view(np.int32))
    assert not np.isnan(expected).all(axis=0).any()


def micros(time) -> int:
    return int(time.timestamp()) * 1_000_000


def test_the_file_holds_what_was_declared():
    model = windowed_compiled().model
    assert model.windows.fingerprint == windows().fingerprint
    assert model.window_names == windows().names
    assert {i.name for i in model.session.get_inputs()} == {*model.input_names, *windows().names}
    assert not set(model.input_names) & set(windows().names)
    assert set(model.windows.sources) == {"flight_departures", "flight_arrivals"}


def test_windows_are_certified():
    certificate = windowed_compiled().certificate
    assert certificate.compared["validation"].rows == 4_000
    assert "0 of 44,000 margins differ" in certificate.summary()


def test_windows_decide_something():
    scorer = OnnxScorer(windowed_compiled().model)
    values = windows_of(APRIL)
    with_values = scorer.score(some(APRIL), values)
    without = scorer.score(some(APRIL), np.full_like(values, np.nan))
    assert (with_values.margin != without.margin).mean() > 0.5


def test_the_compiled_model_answers_as_the_native_one():
    model = windowed_compiled().model
    raw = with_windows(APRIL)
    matrix = features_part(model).read(raw)
    native = windowed_booster().inplace_predict(matrix, predict_type="margin")
    ours = OnnxScorer(model).score(some(APRIL), windows_of(APRIL)).margin
    assert (native.view(np.int32) == ours.view(np.int32)).all()
    session, name = trees_part(model)
    (apart,) = session.run(["margin"], {name: matrix})
    assert (apart.view(np.int32) == ours.view(np.int32)).all()
    names = list(model.manifest.features)
    for window in windows().names:
        np.testing.assert_array_equal(matrix[:, names.index(window)], raw[window])


def test_golden_vectors_have_recorded_and_edge_values():
    model = windowed_compiled().model
    golden = golden_windows(model.manifest)
    assert golden.shape == (64, len(windows()))
    assert not any(name in model.manifest.golden.columns for name in windows().names)
    recorded, edges = golden[:32], golden[32:]
    seen = windows_of(slice(30_000, 34_000))
    index = np.unique(np.linspace(0, 3_999, 32).astype(np.int64))
    np.testing.assert_array_equal(recorded, seen[index])
    assert np.isnan(edges).any()
    assert (np.abs(edges) > 1e30).any()
    assert (edges == 0).any()


def test_edge_rows_put_windows_on_the_thresholds_and_beside_them():
    cuts = XGBoostModel(windowed_booster()).cuts()
    found = edge_columns(
        departures(),
        windowed_compiled().model.manifest.inputs,
        windows(),
        cuts,
        some(slice(0, 2_000)),
        20_000,
    )
    own = np.unique(np.concatenate(cuts))
    for name in windows().names:
        values = found[name]
        assert values.dtype == np.float32
        assert np.isnan(values).any()
        assert (np.signbit(values) & (values == 0)).any()
        assert {np.inf, -np.inf, np.float32(3.4028235e38)} <= set(values[~np.isnan(values)])
        for wanted in (own, np.nextafter(own, np.float32(9e9)), np.nextafter(own, -np.inf)):
            assert np.isin(wanted.astype(np.float32), values).mean() > 0.95


def test_a_sensitive_value_is_counted_at_most():
    """Window values are stored: any other aggregate of one event is the value itself."""
    properties = {**arrivals().document["properties"]}
    properties["arr_delay"] = properties["arr_delay"] | {"x-sensitive": True}
    secret = Contract.from_document({**arrivals().document, "properties": properties})
    came = Source("flight_arrivals", delay="1min", clock_skew="5s")

    def bound(agg):
        window = Window("w", came, "origin", agg, "1h", "5min", "arr_delay", 0)
        return bind([window], departures(), lambda source: secret)

    assert bound("count").names == ("w",)
    for agg in ("sum", "mean", "min", "max", "last"):
        with pytest.raises(UsageError, match=f"window w: the {agg} of 'arr_delay' is sensitive"):
            bound(agg)


def test_a_window_that_no_feature_reads():
    def features(event, fitted):
        return {"distance": event["distance"], "w": event["origin_delay_3h"] + 1}

    with pytest.raises(UsageError, match=r"no feature reads the windows origin_departures_1h, ori"):
        trace(features, {}, departures(), windows())


def test_features_of_windows_alone():
    def features(event, fitted):
        return {name: event[name] for name in windows().names}

    traced = trace(features, {}, departures(), windows())
    assert traced.inputs == ()
    raw = with_windows(APRIL)
    np.testing.assert_array_equal(traced.reader().read(raw), windows_of(APRIL))
    assert model_inputs(raw, windows().names)["origin_delay_3h"].dtype == np.float32
