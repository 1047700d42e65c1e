"""Parameters are tried before anything is read: what XGBoost would not use is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lockstep.errors import UsageError
from lockstep.estimators import Examples
from lockstep.estimators.xgboost.boosting import boost
from lockstep.estimators.xgboost.parameters import require_parameters
from models.blood_glucose.model import MODEL as GLUCOSE
from models.flight_delay.model import MODEL as FLIGHTS

BINARY = {"objective": "binary:logistic"}
FEATURES = ["age", "base", "cost"]


@pytest.mark.parametrize(
    ("parameters", "said", "write"),
    [
        ({"max_dept": 4}, "no parameter 'max_dept'", "max_depth"),
        ({"colsample": 0.5}, "no parameter 'colsample'", "colsample_bytree"),
        ({"learning-rate": 1}, "no parameter 'learning-rate'", "learning_rate"),
        ({"zzz": 1, "yyy": 2}, "no parameter 'yyy', 'zzz'", "leave 'yyy' out"),
        ({"max_dept": 4, "verbosity": 0}, "no parameter 'max_dept'", "max_depth"),
        ({"max_dept": 4, "validate_parameters": False}, "no parameter 'max_dept'", "max_depth"),
        ({"missing": -1}, "'missing' is none", "NaN"),
        ({"early_stopping_rounds": 10}, "'early_stopping_rounds' is none", "stop_after="),
        ({"n_estimators": 10}, "'n_estimators' is none", "trees="),
        ({"num_boost_round": 10}, "'num_boost_round' is none", "trees="),
        ({"nthread": 2}, "'nthread' is none", "threads="),
        ({"n_jobs": 2}, "'n_jobs' is none", "threads="),
        ({"enable_categorical": True}, "'enable_categorical' is none", "lookup"),
        ({"eta": 0.1, "learning_rate": 0.3}, "two names of one parameter", "leave one"),
        ({"seed": 1, "random_state": 1}, "two names of one parameter", "leave one"),
        ({"max_depth": "six"}, "refuses to train: .*max_depth expect int", "parameters="),
        ({"max_depth": -3}, "refuses to train: value -3 for Parameter max_depth", "parameters="),
        ({"subsample": 7}, "refuses to train: value 7 for Parameter subsample", "parameters="),
        ({"tree_method": "histt"}, "refuses to train: .*'histt', valid values", "parameters="),
        ({"tree_method": "exact"}, "refuses to train: .*hist", "parameters="),
        ({"num_class": 3}, "'num_class' is none", "binary:logistic"),
        ({"base_score": 1.5}, "refuses to train: .*base_score must be in", "parameters="),
        ({"booster": "gblinear"}, "booster 'gblinear' cannot be", ""),
        ({"booster": "dart"}, "booster 'dart' cannot be", ""),
        ({"process_type": "update", "updater": "refresh"}, "XGBoost", "parameters="),
        ({"objective": "binary:logistik"}, "'binary:logistik' cannot be", "binary:logistic"),
        ({"objective": "reg:squareerror"}, "'reg:squareerror' cannot be", "reg:squarederror"),
        ({"objective": None}, "objective None cannot be", "binary:logistic"),
        *(
            ({"objective": name}, f"'{name}' cannot be compiled exactly", "objective")
            for name in (
                *("reg:logistic", "binary:hinge", "binary:logitraw", "reg:absoluteerror"),
                *("reg:quantileerror", "count:poisson", "reg:gamma", "reg:tweedie"),
                *("survival:cox", "survival:aft", "rank:pairwise", "multi:softprob"),
            )
        ),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_named_with_the_right_one(parameters, said, write):
    with pytest.raises(UsageError, match=said) as refused:
        require_parameters({**BINARY, **parameters})
    assert write in (refused.value.next or "")
    assert "/" not in str(refused.value).replace("Lockstep/", "")


def test_an_objective_is_named_by_whoever_wants_one():
    for parameters in ({}, {"objektive": "binary:logistic"}):
        with pytest.raises(UsageError, match="names no objective") as refused:
            require_parameters(parameters)
        assert "reg:squarederror" in (refused.value.next or "")


@pytest.mark.parametrize(
    "parameters",
    [
        FLIGHTS.estimator.parameters,
        GLUCOSE.estimator.parameters,
        {**BINARY, "eta": 0.1, "lambda": 2, "alpha": 1, "gamma": 3, "random_state": 7},
        {**BINARY, "scale_pos_weight": 7.3, "base_score": 0.2, "max_delta_step": 1},
        {**BINARY, "num_parallel_tree": 3, "subsample": 0.5, "colsample_bynode": 0.5},
        {**BINARY, "grow_policy": "lossguide", "max_leaves": 8, "max_depth": 0, "max_bin": 64},
        {**BINARY, "tree_method": "auto", "eval_metric": ["auc", "logloss"], "verbosity": 0},
    ],
    ids=str,
)
def test_what_xgboost_uses_is_taken(parameters, recwarn):
    require_parameters(parameters)
    assert not recwarn.list


def test_constraints_are_tried_when_the_features_are_known():
    for constraints in (
        {"monotone_constraints": {"base": 1, "cost": -1}},
        {"interaction_constraints": [["age", "base"], ("cost",)]},
    ):
        require_parameters({**BINARY, **constraints})
        require_parameters({**BINARY, **constraints}, FEATURES)


@pytest.mark.parametrize(
    ("constraints", "said", "write"),
    [
        ({"monotone_constraints": {"bas": 1}}, "names the feature 'bas'; .* age, base", "'base'"),
        ({"interaction_constraints": [["age"], ["costs"]]}, "names the feature 'costs'", "'cost'"),
        ({"interaction_constraints": [["zzz"]]}, "names the feature 'zzz'", "leave 'zzz' out"),
    ],
)
def test_a_constraint_of_no_feature_is_named_with_the_right_one(constraints, said, write):
    require_parameters({**BINARY, **constraints})
    with pytest.raises(UsageError, match=said) as refused:
        require_parameters({**BINARY, **constraints}, FEATURES)
    assert write in (refused.value.next or "")


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ({"monotone_constraints": "(1,0,-1)"}, r"is '\(1,0,-1\)', which names no features"),
        ({"monotone_constraints": (1, 0, -1)}, r"is \(1, 0, -1\), which names no features"),
        ({"monotone_constraints": {"base": 2}}, "constraint of 'base' is 2, not 1"),
        ({"monotone_constraints": {"base": True}}, "constraint of 'base' is True, not 1"),
        ({"interaction_constraints": "[[0, 1]]"}, "which names no features"),
        ({"interaction_constraints": [[0, 1], [2]]}, "is 0, which names no features"),
        ({"interaction_constraints": ["age", "base"]}, "which names no features"),
    ],
)
def test_a_constraint_of_positions_is_refused_before_anything_is_read(constraints, said):
    with pytest.raises(UsageError, match=said) as refused:
        require_parameters({**BINARY, **constraints})
    assert refused.value.next


def test_what_the_trial_asks_for_stays_in_the_trial():
    import xgboost

    with xgboost.config_context(verbosity=0):
        require_parameters(FLIGHTS.estimator.parameters)
        assert xgboost.get_config()["verbosity"] == 0


def test_a_booster_knows_its_features():
    matrix = np.arange(20, dtype=np.float32).reshape(10, 2)
    made = boost(
        BINARY, Examples(matrix, matrix[:, 0] > 9), features=["a", "b"], rounds=2, threads=1
    )
    assert made.feature_names == ["a", "b"]
    assert made.num_boosted_rounds() == 2
