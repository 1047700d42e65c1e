"""Edge rows: the same for the same model, and at every edge that was promised."""

from __future__ import annotations

import numpy as np

from lockstep.compiling.edges import edge_columns, edge_matrix
from lockstep.estimators.xgboost.native import XGBoostModel
from lockstep.windows.semantics import NO_WINDOWS
from tests.small_model import columns, departures, small_booster, small_compiled


def test_features_are_put_on_their_thresholds_and_beside_them():
    model = XGBoostModel(small_booster())
    forest = model.forest
    matrix = edge_matrix(model.cuts(), 20_000)
    feature, threshold = np.array(forest.feature), np.array(forest.threshold, np.float32)
    for position in np.unique(feature):
        own = np.unique(threshold[feature == position])
        for wanted in (
            own,
            np.nextafter(own, np.float32(9e9)),
            np.nextafter(own, -np.float32(9e9)),
        ):
            assert np.isin(wanted, matrix[:, position]).mean() > 0.95
    bits = matrix.view(np.uint32)
    for special in (np.inf, -np.inf, -0.0, 0.0, 1e-45):
        assert (bits == np.float32(special).view(np.uint32)).any(axis=0).all()
    assert np.isnan(matrix).any(axis=0).all()


def test_events_have_nulls_and_unseen_categories():
    cuts = XGBoostModel(small_booster()).cuts()
    inputs = small_compiled().model.manifest.inputs
    found = edge_columns(departures(), inputs, NO_WINDOWS, cuts, columns(), 5_000)
    assert list(found) == [wanted.name for wanted in inputs]
    for wanted in inputs:
        column, field = found[wanted.name], departures().by_name[wanted.name]
        if field.kind == "string":
            assert {"", "?"} < set(column)
            assert set(column) & set(columns()[wanted.name])
        elif field.kind == "number":
            assert np.isnan(column).any()
            assert np.isinf(column).any()
            assert (np.signbit(column) & (column == 0)).any()
            assert {field.minimum, field.maximum} <= set(column)
        else:
            assert {int(field.minimum), int(field.maximum)} < set(column.tolist())


def test_the_same_model_has_the_same_edges():
    cuts = XGBoostModel(small_booster()).cuts()
    np.testing.assert_array_equal(edge_matrix(cuts, 100), edge_matrix(cuts, 100))


def test_values_of_sensitive_fields_are_not_taken_from_events():
    document = dict(departures().document)
    document["properties"] = dict(document["properties"])
    document["properties"]["dest"] = document["properties"]["dest"] | {"x-sensitive": True}
    contract = type(departures()).from_document(document)
    inputs = [w for w in small_compiled().model.manifest.inputs if w.name == "dest"]
    cuts = XGBoostModel(small_booster()).cuts()
    found = edge_columns(contract, inputs, NO_WINDOWS, cuts, columns(), 5_000)
    assert not set(found["dest"]) & (set(columns()["dest"]) - {""})
