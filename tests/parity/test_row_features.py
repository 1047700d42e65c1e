"""A feature is one function: run on NumPy and traced into a graph, it gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from lockstep.compiled_model.parts import features_part
from lockstep.compiling import trace
from lockstep.compiling.edges import edge_columns
from lockstep.contracts import Columns, model_inputs
from lockstep.errors import UsageError
from lockstep.estimators.xgboost.native import XGBoostModel
from models.flight_delay.features import fit, row_features
from tests.small_model import columns, departures, small_booster, small_compiled, some


def eagerly(raw: Columns, fitted) -> tuple[list[str], np.ndarray]:
    """The features by NumPy alone."""
    event = model_inputs(raw, departures().by_name)
    found = row_features(event, fitted)
    for name, column in found.items():
        assert column.dtype == np.float32, name
    return list(found), np.stack(list(found.values()), axis=1)


def same_bits(
    found: np.ndarray, expected: np.ndarray, names: list[str], *, signed_zeros: bool = True
) -> None:
    for position, name in enumerate(names):
        ours, theirs = found[:, position], expected[:, position]
        differ = ours.view(np.int32) != theirs.view(np.int32)
        # A NaN carries no number: which of its bit patterns it is may differ.
        differ &= ~(np.isnan(ours) & np.isnan(theirs))
        if not signed_zeros:
            differ &= ours != theirs
        assert not differ.any(), f"{name}: {differ.sum()} rows differ"


def test_on_every_departure_of_the_year():
    fitted = fit(some(slice(0, 200_000)))
    names, expected = eagerly(columns(), fitted)
    traced = trace(row_features, fitted, departures())
    assert list(traced.names) == names
    assert len(expected) == 328_521
    same_bits(traced.reader().read(columns()), expected, names)


def test_on_edge_events():
    model = small_compiled().model
    fitted = fit(some(slice(0, 20_000)))
    raw = edge_columns(
        departures(),
        model.manifest.inputs,
        model.windows,
        XGBoostModel(small_booster()).cuts(),
        columns(),
        20_000,
    )
    # Fields that the features do not read are not made up.
    filled = {**some(slice(0, 20_000)), **raw}
    with np.errstate(all="ignore"):
        names, expected = eagerly(filled, fitted)
    # ONNX Runtime's Where forgets the sign of a zero. No tree sees it: -0.0 < t as 0.0 < t.
    same_bits(features_part(model).read(raw), expected, names, signed_zeros=False)


def test_the_graph_reads_only_what_the_features_use():
    traced = trace(row_features, fit(some(slice(0, 1000))), departures())
    assert not {"event_id", "tailnum", "flight"} & {wanted.name for wanted in traced.inputs}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda event, _: {}, "returns no features"),
        (lambda event, _: {"f": event["flight"]}, "feature 'f' is int64"),
        (lambda event, _: {"f": event["seats"] > 3}, "feature 'f' is bool"),
        (lambda event, _: {"f": 5}, "feature 'f' is int that is not made"),
        (lambda event, _: {"f": event["seats"][None, :]}, "of 2 dimensions"),
    ],
)
def test_what_is_no_feature_is_named(made, said):
    with pytest.raises(UsageError, match=said):
        trace(made, {}, departures())
