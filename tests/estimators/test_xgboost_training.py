"""What is declared has its effect: weights, constraints by name, stopping early."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest

from lockstep.errors import UsageError
from lockstep.estimators import Examples, XGBoost
from lockstep.estimators.xgboost import XGBoostModel
from lockstep.progress import Silent

NAMES = ["age", "base", "cost"]
DRAW = np.random.default_rng(7)
X = DRAW.normal(size=(2_000, 3)).astype(np.float32)
NOISE = DRAW.normal(size=len(X))
Y = (X[:, 0] * X[:, 1] - X[:, 2] + NOISE > 0).astype(np.float32)
BINARY = {"objective": "binary:logistic", "max_depth": 4, "seed": 1}


def fitted(
    parameters: dict[str, Any] | None = None,
    trees: int = 30,
    *,
    examples: Examples | None = None,
    held_out: Examples | None = None,
    **declared: Any,
) -> XGBoostModel:
    estimator = XGBoost({**BINARY, **(parameters or {})}, trees, **declared)
    estimator.require()
    estimator.require(NAMES)
    return estimator.fit(NAMES, examples or Examples(X, Y), held_out, Silent())


def falls(model: XGBoostModel, feature: int) -> int:
    """Rows whose margin becomes smaller where a feature becomes larger."""
    low, high = X.copy(), X.copy()
    high[:, feature] = low[:, feature] + 1
    return int((model.answers(high)[1] < model.answers(low)[1]).sum())


def test_a_monotone_constraint_holds_for_the_feature_that_it_names():
    assert falls(fitted(), 2) > 1_000
    assert falls(fitted({"monotone_constraints": {"cost": 1}}), 2) == 0
    # Another name constrains another feature: it is the name that is meant.
    assert falls(fitted({"monotone_constraints": {"age": 1}}), 2) > 1_000


def pairs(model: XGBoostModel) -> set[tuple[str, str]]:
    """Features that one path of a tree asks for together."""
    found = set()
    learner = json.loads(bytes(model.booster.save_raw("json")))["learner"]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        paths: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
        while paths:
            node, seen = paths.pop()
            if tree["left_children"][node] == -1:
                found |= {
                    tuple(NAMES[f] for f in p) for p in itertools.combinations(sorted(seen), 2)
                }
                continue
            seen |= {tree["split_indices"][node]}
            paths += [(tree[f"{side}_children"][node], seen) for side in ("left", "right")]
    return found


def test_features_interact_only_with_those_that_are_named_beside_them():
    assert pairs(fitted()) == {("age", "base"), ("age", "cost"), ("base", "cost")}
    apart = {"interaction_constraints": [["base", "age"], ["cost"]]}
    assert pairs(fitted(apart)) == {("age", "base")}


def test_a_weight_counts_like_so_many_rows():
    twice = np.concatenate([X, X[:500]]), np.concatenate([Y, Y[:500]])
    weight = np.ones(len(X), np.float32)
    weight[:500] = 2

    def trained(examples: Examples) -> np.ndarray:
        return fitted({"max_depth": 3}, 5, examples=examples).answers(X)[1]

    weighed, repeated = trained(Examples(X, Y, weight)), trained(Examples(*twice))
    np.testing.assert_allclose(weighed, repeated, atol=0.15)
    plain = trained(Examples(X, Y))
    assert np.abs(weighed - repeated).mean() < 0.5 * np.abs(weighed - plain).mean()


def test_a_row_that_weighs_nothing_teaches_nothing():
    wrong = Y.copy()
    wrong[:1_000] = 1 - wrong[:1_000]
    weight = (np.arange(len(X)) >= 1_000).astype(np.float32)
    right = fitted(examples=Examples(X, Y, weight)).answers(X)[1]
    np.testing.assert_array_equal(fitted(examples=Examples(X, wrong, weight)).answers(X)[1], right)
    assert (fitted(examples=Examples(X, wrong)).answers(X)[1] != right).any()


def loss(model: XGBoostModel, examples: Examples) -> float:
    score = model.answers(examples.matrix)[0].astype(np.float64)
    return float(-np.log(np.where(examples.label > 0, score, 1 - score)).mean())


LEARNED, HELD_OUT = Examples(X[:1_000], Y[:1_000]), Examples(X[1_000:], Y[1_000:])
EAGER = {"learning_rate": 0.5, "max_depth": 6}


def test_only_the_best_trees_are_kept():
    stopped = fitted(EAGER, 200, examples=LEARNED, held_out=HELD_OUT, stop_after=10)
    kept = stopped.about.trees
    assert 0 < kept < 150
    assert stopped.booster.num_boosted_rounds() == kept
    # They are those that a training of so many rounds makes, and none of the others is better.
    whole = fitted(EAGER, kept + 10, examples=LEARNED)
    np.testing.assert_array_equal(
        stopped.answers(X)[1], XGBoostModel(whole.booster[:kept]).answers(X)[1]
    )
    losses = [
        loss(XGBoostModel(whole.booster[:rounds]), HELD_OUT) for rounds in range(1, kept + 11)
    ]
    assert int(np.argmin(losses)) + 1 == kept
    assert stopped.summary() == f"the best {kept} of at most 200 trees on 1,000 held-out events"


def test_trees_that_grow_side_by_side_are_kept_by_the_round():
    stopped = fitted(
        {**EAGER, "num_parallel_tree": 3, "subsample": 0.5},
        *(200,),
        examples=LEARNED,
        held_out=HELD_OUT,
        stop_after=5,
    )
    assert stopped.about.trees == 3 * stopped.booster.num_boosted_rounds()


def test_what_was_stopped_is_the_same_model_after_its_file():
    stopped = fitted(EAGER, 200, examples=LEARNED, held_out=HELD_OUT, stop_after=10)
    again = XGBoostModel.load(stopped.file().data)
    assert again.about == stopped.about
    np.testing.assert_array_equal(again.answers(X)[1], stopped.answers(X)[1])


def test_weights_of_held_out_rows_say_which_of_them_matter():
    weight = np.zeros(1_000, np.float32)
    weight[:200] = 1
    wrong = np.where(weight > 0, HELD_OUT.label, 1 - HELD_OUT.label)
    few = Examples(HELD_OUT.matrix, wrong, weight)
    cut = Examples(HELD_OUT.matrix[:200], HELD_OUT.label[:200])
    found = [
        fitted(EAGER, 200, examples=LEARNED, held_out=rows, stop_after=10).about.trees
        for rows in (few, cut, dataclasses.replace(few, weight=None))
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    "metric",
    [
        {"eval_metric": "loglos"},
        {"eval_metric": ["auc", "mlogloss"]},
        {"disable_default_eval_metric": True},
    ],
    ids=str,
)
def test_a_metric_that_nobody_can_stop_by_is_refused_before_anything_is_read(metric):
    with pytest.raises(UsageError, match="XGBoost refuses to train"):
        XGBoost({**BINARY, **metric}, 20, stop_after=5).require()
    XGBoost({**BINARY, "eval_metric": ["auc", "error"]}, 20, stop_after=5).require()


def test_a_metric_that_is_not_finite_stops_nothing_silently():
    """Relative errors of a label that is 0 are infinite: no round would be better."""
    relative = {"objective": "reg:squarederror", "eval_metric": ["rmse", "mape"]}
    number = (np.abs(X[:, 0]) + 1).astype(np.float32)
    learned = Examples(X[:1_000], number[:1_000])
    with_zero = number[1_000:].copy()
    with_zero[7] = 0
    for label in (with_zero, number[1_000:]):
        beside = Examples(X[1_000:], label)
        if label is with_zero:
            with pytest.raises(UsageError, match=r"'mape' on .* is (inf|nan) after round 1,") as no:
                fitted(relative, 30, examples=learned, held_out=beside, stop_after=5)
            assert "eval_metric" in (no.value.next or "")
        else:
            kept = fitted(relative, 30, examples=learned, held_out=beside, stop_after=5)
            assert kept.about.trees > 1
    # Only the metric that decides has to be finite: the last.
    turned = {**relative, "eval_metric": ["mape", "rmse"]}
    beside = Examples(X[1_000:], with_zero)
    assert fitted(turned, 30, examples=learned, held_out=beside, stop_after=5).about.trees > 1


@pytest.mark.parametrize("weight", [None, np.full(len(X), 1 / len(X), np.float32)])
def test_trees_that_tell_nothing_apart_are_refused(weight):
    """Weights that add up to 1 allow no child of the weight 1."""
    examples = Examples(X, Y, weight)
    heavy = {"min_child_weight": 1 if weight is not None else 1_000}
    with pytest.raises(UsageError, match=r"no tree has a split: .* weigh (1|2000) in all") as no:
        fitted(heavy, 3, examples=examples)
    assert "min_child_weight" in (no.value.next or "")
    assert fitted({"min_child_weight": 0}, 3, examples=examples).about.depth


@pytest.mark.parametrize("stop_after", [None, 5])
def test_what_is_declared_is_described(stop_after):
    declared = XGBoost(BINARY, 20, threads=2, stop_after=stop_after)
    stop = {} if stop_after is None else {"stop_after": 5}
    assert declared.described() == {**BINARY, "trees": 20, "threads": 2, **stop}
    assert declared.wants_held_out == (stop_after is not None)
    assert declared.resized(3).described() == {**BINARY, "trees": 3, "threads": 2, **stop}
