"""The flight_delay model: will a departing flight arrive more than 15 minutes late?"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np

from lockstep.contracts import Columns
from lockstep.estimators import XGBoost
from lockstep.training import Definition, Label, Period
from models.flight_delay.features import features, fit
from models.flight_delay.windows import WINDOWS

__all__ = ["MODEL"]


def _late(arrivals: Columns) -> np.ndarray[Any, Any]:
    return arrivals["arr_delay"] > 15


MODEL = Definition(
    contract="departure.v1.json",
    features=features,
    fit=fit,
    label=Label(
        contract="arrival.v1.json",
        fields=("arr_delay",),
        of=_late,
        meaning="arr_delay > 15 minutes",
        within=timedelta(days=1),
    ),
    windows=WINDOWS,
    # The windows of 1 January see the day before it, which nobody recorded.
    train=Period(date(2013, 1, 2), date(2013, 10, 1)),
    # A day between them, in which the last labels of the training period become known.
    test=Period(date(2013, 10, 2), date(2014, 1, 1)),
    estimator=XGBoost(
        {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": 6,
            "learning_rate": 0.05,
            # A leaf needs many flights and a tree sees half of the features: a year of weather
            # repeats nothing, and trees learn single days by heart.
            "min_child_weight": 30,
            "colsample_bytree": 0.5,
            "seed": 2013,
        },
        trees=300,
    ),
    gates={"auc": 0.921},
)
