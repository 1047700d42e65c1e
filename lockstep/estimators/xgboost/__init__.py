"""The adapter of XGBoost. The library itself is imported when something is trained or opened."""

from lockstep.estimators.xgboost.estimator import XGBoost
from lockstep.estimators.xgboost.native import XGBoostModel

__all__ = ["XGBoost", "XGBoostModel"]
