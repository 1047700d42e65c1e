"""Our XGBoost converter, bit for bit, over the kinds of booster that it accepts."""

from __future__ import annotations

import numpy as np
import pytest
import spox
import xgboost

from lockstep.compiled_model.inference import open_session
from lockstep.compiling.edges import edge_matrix
from lockstep.errors import UsageError
from lockstep.estimators.xgboost.forest import read_forest
from lockstep.estimators.xgboost.graph import margin_and_score
from lockstep.estimators.xgboost.native import XGBoostModel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3_000, 5)).astype(np.float32)
X[RNG.random(X.shape) < 0.1] = np.nan
Y = (np.nan_to_num(X[:, 0]) * np.nan_to_num(X[:, 1]) + RNG.normal(size=len(X)) > 0.8).astype("f4")


def booster(trees: int = 20, label=Y, **parameters) -> xgboost.Booster:
    settings = {"objective": "binary:logistic", "nthread": 1, **parameters}
    return xgboost.train(settings, xgboost.DMatrix(X, label=label, nthread=1), trees)


def graph(forest):
    """The forest alone, as a session."""
    matrix = spox.argument(spox.Tensor(np.float32, ("N", forest.features)))
    margin, score = margin_and_score(matrix, forest)
    model = spox.build({"matrix": matrix}, {"score": score, "margin": margin})
    return open_session(model.SerializeToString(deterministic=True))


def differences(native: xgboost.Booster) -> int:
    """Rows whose margin differs in any bit, on real rows, on edges, whole and one by one."""
    forest = read_forest(native)
    session = graph(forest)
    rows = np.concatenate([X, edge_matrix(XGBoostModel(native).cuts(), 3_000)])
    expected = native.inplace_predict(rows, predict_type="margin").view(np.int32)
    (whole,) = session.run(["margin"], {"matrix": rows})
    alone = [session.run(["margin"], {"matrix": rows[i : i + 1]})[0][0] for i in range(0, 6000, 7)]
    wrong = int((whole.view(np.int32) != expected).sum())
    return wrong + int((np.array(alone, np.float32).view(np.int32) != expected[::7]).sum())


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"max_depth": 1},
        {"max_depth": 10},
        {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
        {"learning_rate": 0.003, "trees": 1_000, "max_depth": 3},
        {"trees": 1},
        {"subsample": 0.5, "colsample_bytree": 0.4},
        {"num_parallel_tree": 3},
        {"tree_method": "exact"},
        {"monotone_constraints": "(1,0,0,0,-1)"},
        {"scale_pos_weight": 7.3, "gamma": 5},
    ],
    ids=str,
)
def test_every_way_to_grow(parameters):
    assert differences(booster(**parameters)) == 0


@pytest.mark.parametrize(
    "base_score",
    [0.0, 1e-12, 1e-6, 0.01, 0.2370001, 0.3, 0.5, 0.7370012, 0.9999, 0.123456789, 0.9999995, 1.0],
)
def test_every_base_score(base_score):
    assert differences(booster(base_score=base_score)) == 0


@pytest.mark.parametrize("seed", range(12))
def test_every_base_score_that_data_gives(seed):
    """It is estimated from the labels; in float32 its logit is one bit off for some of these."""
    label = (np.random.default_rng(seed).random(len(X)) < 0.02 + seed / 13).astype(np.float32)
    assert differences(booster(trees=3, label=label)) == 0


def test_regression_has_no_link():
    native = booster(objective="reg:squarederror", label=np.nan_to_num(X[:, 0]) * 1e3 + 5e3)
    assert differences(native) == 0
    forest = read_forest(native)
    assert forest.estimator.link == "identity"
    score, margin = graph(forest).run(["score", "margin"], {"matrix": X})
    assert (score == margin).all()


def test_a_tree_that_is_a_single_leaf():
    native = booster(trees=3, min_child_weight=1e9)
    assert read_forest(native).estimator.depth == 0
    assert differences(native) == 0


def test_a_single_leaf_among_trees():
    native = booster(trees=30, gamma=5, learning_rate=1.0)
    forest = read_forest(native)
    stumps = sum(1 for left, right in zip(forest.left, forest.right, strict=True) if left == right)
    assert 0 < stumps < 30
    assert differences(native) == 0


def test_depth_counts_decisions():
    assert read_forest(booster(max_depth=3)).estimator.depth == 3


@pytest.mark.parametrize(
    ("native", "said"),
    [
        (lambda: booster(objective="count:poisson"), "objective 'count:poisson' cannot be"),
        (
            lambda: booster(objective="multi:softprob", num_class=2),
            "objective 'multi:softprob' cannot be",
        ),
        (lambda: booster(booster="gblinear"), "booster 'gblinear' cannot be"),
        (lambda: booster(booster="dart"), "booster 'dart' cannot be"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_converted_exactly_is_named(native, said):
    with pytest.raises(UsageError, match=said):
        read_forest(native())


def test_categorical_splits_are_refused():
    rows = xgboost.DMatrix(
        np.arange(100, dtype=np.float32)[:, None] % 7,
        label=(np.arange(100) % 7 == 3).astype(np.float32),
        feature_types=["c"],
        enable_categorical=True,
    )
    native = xgboost.train({"objective": "binary:logistic", "max_cat_to_onehot": 1}, rows, 3)
    with pytest.raises(UsageError, match="splits on categories"):
        read_forest(native)


def test_no_trees_are_refused():
    with pytest.raises(UsageError, match="no trees"):
        read_forest(booster(trees=0))
