"""What models are trained in. `lockstep.estimators.protocol` says what an adapter is.

model.py imports from here; no training library is imported before something is trained.
"""

from lockstep.estimators.protocol import Estimator, Examples, Native
from lockstep.estimators.trained import Trained
from lockstep.estimators.xgboost import XGBoost

__all__ = ["Estimator", "Examples", "Native", "Trained", "XGBoost"]
