"""The native model: which booster is meant, and what it answers.

A booster's trees are not all that a trainer may have meant by it. What it says of itself beyond
them is taken, or refused with what to write; what it does not say (a weight, a base margin, the
number that its training matrix had for a missing value) nobody can ask it for: the features that
reach it must be those of features.py, null as NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.errors import UsageError

__all__ = ["Answers", "native_answers", "native_booster"]

Answers = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""(score, margin), float32[n] each."""


def native_booster(model: Any, features: Sequence[str]) -> Any:
    """The xgboost.Booster that `model` means, whose matrix has the columns `features`.

    `model` is a Booster, or one of XGBoost's estimators in scikit-learn's style, which predicts
    with its best rounds only. Raises UsageError for a booster that was stopped early and does not
    say which rounds are meant, for features of other names, order or number, and for an estimator
    that has another number than NaN for what is missing.
    """
    import xgboost

    estimator = isinstance(model, xgboost.XGBModel)
    if estimator and model.__sklearn_is_fitted__():
        _require_nan(model.missing)
        booster = model.get_booster()
        best = _best_rounds(booster)
        booster = booster if best is None else booster[:best]
    elif isinstance(model, xgboost.Booster):
        booster = model
        _require_whole(booster)
    else:
        raise UsageError(
            f"{type(model).__name__} is no trained xgboost.Booster",
            next="compile_model(booster=xgboost.train(...), ...)",
        )
    _require_features(booster, features)
    return booster


def native_answers(booster: Any, matrix: np.ndarray[Any, Any]) -> Answers:
    """XGBoost's own scores and margins. inplace_predict, because a DMatrix refuses infinity."""
    score = booster.inplace_predict(matrix, predict_type="value", missing=np.nan)
    margin = booster.inplace_predict(matrix, predict_type="margin", missing=np.nan)
    return score.astype(np.float32, copy=False), margin.astype(np.float32, copy=False)


def _require_nan(missing: Any) -> None:
    if not (isinstance(missing, float | np.floating) and np.isnan(missing)):
        raise UsageError(
            f"the estimator was trained with missing={missing}: it takes that number for a null,"
            " and a compiled model takes NaN only",
            next=f"in features.py xp.where(x == {missing}, xp.nan, x), then train with missing=nan",
        )


def _best_rounds(booster: Any) -> int | None:
    """How many rounds were the best; None where nobody stopped early."""
    best = booster.attr("best_iteration")
    return int(best) + 1 if best is not None and best.isdecimal() else None


def _require_whole(booster: Any) -> None:
    best, rounds = _best_rounds(booster), booster.num_boosted_rounds()
    if best is not None and best != rounds:
        raise UsageError(
            f"the booster was stopped early: its first {best} rounds were the best,"
            f" and it has {rounds}",
            next="compile booster[: booster.best_iteration + 1]; or, if all rounds are meant,"
            " booster.set_attr(best_iteration=None) first",
        )


def _require_features(booster: Any, features: Sequence[str]) -> None:
    number = booster.num_features()
    if number != len(features):
        raise UsageError(
            f"the booster has {number} features, features.py makes {len(features)}"
            f" ({_listed(features)})",
            next="train it on the matrix of features.py: trace(...).reader().read(columns)",
        )
    for position, (own, wanted) in enumerate(
        zip(booster.feature_names or features, features, strict=True)
    ):
        if own != wanted:
            raise UsageError(
                f"feature {position} is {own!r} in the booster and {wanted!r} in features.py:"
                " they have another order, or are others",
                next=f"train it on the columns in this order: {_listed(features)}",
            )


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
