"""A booster that says by itself that another model was meant is refused, with what to write."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.compiled_model.native_file import NativeFile
from lockstep.compiling import compile_model, trace
from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators.known import native_of
from lockstep.estimators.xgboost import XGBoostModel
from tests.estimators.test_xgboost_forest import X, Y, booster, differences
from tests.small_model import about_nothing, departures, late, some

NAMES = tuple("abcde")
OBJECTIVES = {
    "binary:logistic": st.floats(0, 1, width=32) | st.sampled_from([1e-7, 1e-6, 1 - 1e-6, 1.0]),
    "reg:squarederror": st.floats(-1e9, 1e9, width=32),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=40, deadline=None, database=None)
@given(data=st.data())
def test_any_base_score_of_any_objective_is_xgboosts_own(objective, data):
    base = data.draw(OBJECTIVES[objective])
    assert differences(booster(trees=2, max_depth=2, objective=objective, base_score=base)) == 0


@pytest.mark.parametrize("rare", [0, 1])
def test_labels_of_one_class_give_a_base_score_that_is_cut_off(rare):
    label = np.full(len(X), 1 - rare, np.float32)
    assert differences(booster(trees=2, label=label)) == 0


def stopped_early() -> tuple[xgboost.Booster, xgboost.DMatrix]:
    rows = xgboost.DMatrix(X[:2_000], label=Y[:2_000], feature_names=list(NAMES))
    unseen = xgboost.DMatrix(X[2_000:], label=Y[2_000:], feature_names=list(NAMES))
    parameters = {"objective": "binary:logistic", "nthread": 1, "learning_rate": 1.0}
    found = xgboost.train(
        *(parameters, rows, 200),
        evals=[(unseen, "unseen")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    assert found.num_boosted_rounds() > found.best_iteration + 1
    return found, unseen


def test_an_early_stopped_booster_must_say_which_rounds_are_meant():
    found, _ = stopped_early()
    with pytest.raises(UsageError, match="stopped early") as refused:
        native_booster(found, NAMES)
    assert refused.value.next is not None
    assert "booster[: booster.best_iteration + 1]" in refused.value.next
    cut = native_booster(found[: found.best_iteration + 1], NAMES)
    assert cut.num_boosted_rounds() == found.best_iteration + 1
    found.set_attr(best_iteration=None)
    assert native_booster(found, NAMES).num_boosted_rounds() == found.num_boosted_rounds()


def native_booster(model, features):
    """What `compile_model` asks first."""
    found = native_of(model)
    found.require_features(features)
    return found.booster


def classifier(**settings) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=100, learning_rate=1.0, n_jobs=1, **settings)


def test_an_estimator_of_scikit_learns_kind_means_its_best_rounds():
    model = classifier(early_stopping_rounds=5)
    model.fit(X[:2_000], Y[:2_000], eval_set=[(X[2_000:], Y[2_000:])], verbose=False)
    native = native_booster(model, NAMES)
    assert native.num_boosted_rounds() == model.best_iteration + 1
    np.testing.assert_array_equal(native.inplace_predict(X), model.predict_proba(X)[:, 1])
    assert differences(native) == 0


@pytest.mark.parametrize("missing", [-1.0, 0, np.inf])
def test_another_number_for_what_is_missing(missing):
    model = classifier(missing=missing).fit(np.nan_to_num(X), Y)
    with pytest.raises(UsageError, match=r"missing=") as refused:
        native_booster(model, NAMES)
    assert refused.value.next is not None
    assert "xp.nan" in refused.value.next


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("abced", "feature 3 is 'e' in the booster and 'd' in features.py"),
        ("abcdX", "feature 4 is 'X' in the booster and 'e' in features.py"),
    ],
)
def test_features_in_another_order(own, said):
    rows = xgboost.DMatrix(X, label=Y, feature_names=list(own))
    native = xgboost.train({"objective": "binary:logistic", "nthread": 1}, rows, 2)
    with pytest.raises(UsageError, match=said):
        native_booster(native, NAMES)


def test_another_number_of_features():
    with pytest.raises(UsageError, match=r"has 5 features, features\.py makes 4"):
        native_booster(booster(), NAMES[:4])


@pytest.mark.parametrize("model", [None, b"bytes", object(), classifier()], ids=type)
def test_what_is_no_booster(model):
    with pytest.raises(UsageError, match=r"is no trained model of"):
        native_booster(model, NAMES)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (lambda: some(slice(0, 0)), "validation columns have 0 rows"),
        (lambda: some(slice(0, 9)) | {"seats": np.zeros(8)}, "validation columns have 8, 9 rows"),
        (lambda: {"seats": np.zeros(8)}, "validation rows lack event_id, departed_at"),
    ],
)
def test_validation_rows_that_are_none(validation, said):
    traced = trace(lambda event, fitted: {"seats": event["seats"]}, {}, departures())
    matrix = xgboost.DMatrix(X[:, :1], label=Y)
    with pytest.raises(UsageError, match=said):
        compile_model(
            use_case="flight_delay",
            contract=departures(),
            traced=traced,
            native=xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 1),
            validation=validation(),
            training=about_nothing(),
            versions={},
            fingerprints={},
        )


def test_compile_model_asks_first():
    """The same distances and seats, the other way round: nothing else would notice."""

    def features(event, fitted):
        return {"distance": event["distance"], "seats": event["seats"]}

    traced = trace(features, {}, departures())
    matrix = traced.reader().read(some(slice(0, 5_000)))
    swapped = xgboost.DMatrix(
        matrix[:, ::-1], label=late()[:5_000], feature_names=["seats", "distance"]
    )
    native = xgboost.train({"objective": "binary:logistic", "nthread": 1}, swapped, 3)
    with pytest.raises(UsageError, match="feature 0 is 'seats' in the booster"):
        compile_model(
            use_case="flight_delay",
            contract=departures(),
            traced=traced,
            native=native,
            validation=some(slice(5_000, 5_100)),
            training=about_nothing(),
            versions={},
            fingerprints={},
        )


def test_certified_is_what_is_kept_for_verify(monkeypatch):
    """The control: what is kept as it is certifies."""
    traced = trace(lambda event, fitted: {"distance": event["distance"]}, {}, departures())
    matrix, label = traced.reader().read(some(slice(0, 5_000))), late()[:5_000]

    def compiled():
        return compile_model(
            use_case="flight_delay",
            contract=departures(),
            traced=traced,
            native=trained(label),
            validation=some(slice(5_000, 5_100)),
            training=about_nothing(),
            versions={},
            fingerprints={},
        )

    def trained(label):
        rows = xgboost.DMatrix(matrix, label=label)
        return xgboost.train({"objective": "binary:logistic", "nthread": 1}, rows, 3)

    assert compiled().certificate.rows() > 0
    other = NativeFile(".ubj", bytes(trained(1 - label).save_raw("ubj")))
    monkeypatch.setattr(XGBoostModel, "file", lambda _: other)
    with pytest.raises(ModelRefused, match="margins differ from native"):
        compiled()
