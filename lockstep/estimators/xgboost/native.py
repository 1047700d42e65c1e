"""The native model: which booster is meant, and what it answers.

A booster's trees are not all that a trainer may have meant by it. What it says of itself beyond
them is taken, or refused with what to write; what it does not say (a weight, a base margin, the
number that its training matrix had for a missing value) nobody can ask it for: the features that
reach it must be those of features.py, null as NaN.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lockstep.compiled_model.manifest import Estimator as Described
from lockstep.compiled_model.native_file import NativeFile
from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators.protocol import Answers, Cuts, Floats, Gives, Native, listed
from lockstep.estimators.xgboost.boosting import best_rounds
from lockstep.estimators.xgboost.file import open_booster
from lockstep.estimators.xgboost.forest import Forest, gives, read_forest

if TYPE_CHECKING:
    from spox import Var

__all__ = ["PACKAGES", "XGBoostModel"]

PACKAGES = ("xgboost",)


class XGBoostModel(Native):
    """A booster of decision trees."""

    kind = "xgboost"
    reads = "XGBoost's .ubj or .json, which booster.save_model(...) writes"
    packages = PACKAGES
    score_bound = 2e-7
    """ONNX Runtime's sigmoid differs from XGBoost's in the last bit."""

    def __init__(self, booster: Any, *, said: str = "") -> None:
        """Raises UsageError for a booster that was stopped early and does not say which rounds
        are meant, or that cannot be compiled exactly."""
        _require_whole(booster)
        self.booster = booster
        self.forest: Forest = read_forest(booster)
        self._said = said

    @classmethod
    def of(cls, model: object) -> Self | None:
        """A Booster, or one of XGBoost's estimators in scikit-learn's style, which predicts with
        its best rounds only.

        Raises UsageError for an estimator that has another number than NaN for what is missing.
        """
        # Who has an object of it has imported it.
        xgboost = sys.modules.get(cls.kind)
        if xgboost is None:
            return None
        if isinstance(model, xgboost.XGBModel) and model.__sklearn_is_fitted__():
            _require_nan(model.missing)
            booster = model.get_booster()
            best = best_rounds(booster)
            return cls(booster if best is None else booster[:best])
        return cls(model) if isinstance(model, xgboost.Booster) else None

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A JSON object, as text or as UBJSON, that has a learner."""
        begin = data[:4096]
        return begin.lstrip()[:1] == b"{" and b"learner" in begin

    @classmethod
    def load(cls, data: bytes) -> Self:
        """From UBJSON or JSON."""
        booster = open_booster(data)
        try:
            return cls(booster)
        except UsageError as error:
            raise ModelRefused(error.message, next=error.next) from None

    def file(self) -> NativeFile:
        """UBJSON."""
        return NativeFile(".ubj", bytes(self.booster.save_raw("ubj")))

    @property
    def about(self) -> Described:
        return self.forest.estimator

    @property
    def gives(self) -> Gives:
        return gives(self.about.objective)

    @property
    def feature_names(self) -> Sequence[str] | None:
        names: Sequence[str] | None = self.booster.feature_names
        return names

    def require_features(self, features: Sequence[str]) -> None:
        """A booster without names has their number only."""
        number = self.booster.num_features()
        if number != len(features):
            raise UsageError(
                f"the booster has {number} features, features.py makes {len(features)}"
                f" ({listed(features)})",
                next="train it on the matrix of features.py: trace(...).reader().read(columns)",
            )
        for position, (own, wanted) in enumerate(
            zip(self.feature_names or features, features, strict=True)
        ):
            if own != wanted:
                raise UsageError(
                    f"feature {position} is {own!r} in the booster and {wanted!r} in features.py:"
                    " they have another order, or are others",
                    next=f"train it on the columns in this order: {listed(features)}",
                )

    def answers(self, matrix: Floats) -> Answers:
        """inplace_predict, because a DMatrix refuses infinity."""
        score = self.booster.inplace_predict(matrix, predict_type="value", missing=np.nan)
        margin = self.booster.inplace_predict(matrix, predict_type="margin", missing=np.nan)
        return score.astype(np.float32, copy=False), margin.astype(np.float32, copy=False)

    def graph(self, matrix: Var) -> tuple[Var, Var]:
        from lockstep.estimators.xgboost.graph import margin_and_score

        return margin_and_score(matrix, self.forest)

    def cuts(self) -> Cuts:
        """The thresholds."""
        feature = np.array(self.forest.feature)
        threshold = np.array(self.forest.threshold, np.float32)
        return [threshold[feature == position] for position in range(self.forest.features)]

    def summary(self) -> str:
        return self._said or super().summary()


def _require_nan(missing: Any) -> None:
    if not (isinstance(missing, float | np.floating) and np.isnan(missing)):
        raise UsageError(
            f"the estimator was trained with missing={missing}: it takes that number for a null,"
            " and a compiled model takes NaN only",
            next=f"in features.py xp.where(x == {missing}, xp.nan, x), then train with missing=nan",
        )


def _require_whole(booster: Any) -> None:
    best, rounds = best_rounds(booster), booster.num_boosted_rounds()
    if best is not None and best != rounds:
        raise UsageError(
            f"the booster was stopped early: its first {best} rounds were the best,"
            f" and it has {rounds}",
            next="take booster[: booster.best_iteration + 1]; or, if all rounds are meant,"
            " booster.set_attr(best_iteration=None) first",
        )
