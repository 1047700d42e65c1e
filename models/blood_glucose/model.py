"""The blood_glucose model: what will glucose be in half an hour?"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np

from lockstep.contracts import Columns
from lockstep.estimators import XGBoost
from lockstep.training import Definition, Label, Period
from models.blood_glucose.features import features, fit
from models.blood_glucose.windows import WINDOWS

__all__ = ["MODEL"]


def _after(outcomes: Columns) -> np.ndarray[Any, Any]:
    return outcomes["after"]


MODEL = Definition(
    contract="reading.v1.json",
    features=features,
    fit=fit,
    windows=WINDOWS,
    label=Label(
        contract="outcome.v1.json",
        fields=("after",),
        of=_after,
        meaning="glucose half an hour later, mg/dl",
        within=timedelta(hours=1),
    ),
    # The longest window reaches back seven days, and the recorded days begin on 24 July.
    train=Period(date(2010, 8, 1), date(2010, 9, 20)),
    # A day between them, in which the last labels of the training period become known.
    test=Period(date(2010, 9, 21), date(2010, 10, 10)),
    estimator=XGBoost(
        {
            "objective": "reg:squarederror",
            "tree_method": "hist",
            "max_depth": 3,
            "learning_rate": 0.05,
            "min_child_weight": 20,
            "colsample_bytree": 0.5,
            "seed": 2010,
        },
        trees=200,
    ),
    gates={"rmse": 25.0},
)
