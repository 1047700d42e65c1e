"""XGBoost's parameters, tried before anything is read.

What a parameter may be XGBoost knows best. So the declared ones train one round on a few made-up
rows: what it refuses, warns of or does not use is refused here, and the booster that comes out
must be one that can be compiled.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from lockstep.errors import UsageError
from lockstep.estimators.protocol import Examples
from lockstep.estimators.xgboost.boosting import boost, import_xgboost, reason
from lockstep.estimators.xgboost.constraints import CONSTRAINTS, require_constraints
from lockstep.estimators.xgboost.forest import (
    gives,
    read_forest,
    require_objective,
    require_trees,
)

__all__ = ["require_parameters"]

_ELSEWHERE: Mapping[str, str] = {
    "missing": "nothing: a null is NaN in features.py, and NaN only is missing",
    "early_stopping_rounds": "stop_after=, beside parameters=, and held_out= of the Definition",
    "n_estimators": "trees=, beside parameters=",
    "num_boost_round": "trees=, beside parameters=",
    "num_round": "trees=, beside parameters=",
    "n_jobs": "threads=, beside parameters=",
    "nthread": "threads=, beside parameters=",
    "num_class": "nothing: two classes are binary:logistic, and a number has none",
    "enable_categorical": "nothing: features.py gives a category its number (lookup)",
}
_SAME = (
    ("eta", "learning_rate"),
    ("gamma", "min_split_loss"),
    ("lambda", "reg_lambda"),
    ("alpha", "reg_alpha"),
    ("seed", "random_state"),
)
_UNUSED = re.compile(r"Parameters: \{ (.*?) \} are not used", re.DOTALL)


def require_parameters(
    parameters: Mapping[str, Any], features: Sequence[str] = (), *, stops: bool = False
) -> None:
    """Try the parameters. Raises UsageError naming one that is wrong, and what to write.

    Without `features` those that speak of single features are left for later. Metrics are measured
    only where a training `stops` by them.
    """
    xgboost = import_xgboost("estimator=XGBoost(...)")
    for name in parameters:
        if name in _ELSEWHERE:
            raise _misplaced(name)
    for one, other in _SAME:
        if one in parameters and other in parameters:
            raise UsageError(
                f"parameters has {one!r} and {other!r}, which are two names of one parameter",
                next=f"leave one of them out: {other!r}, for instance",
            )
    if "objective" not in parameters:
        raise UsageError(
            "parameters names no objective, and XGBoost would take reg:squarederror unasked",
            next='write "objective": "binary:logistic" for a probability, or "reg:squarederror" for'
            " a number",
        )
    require_objective(parameters["objective"])
    require_trees(parameters.get("booster", "gbtree"))
    require_constraints(parameters, features)
    tried = {n: value for n, value in parameters.items() if features or n not in CONSTRAINTS}
    names = list(features) or ["a feature"]
    matrix = np.array([[0], [1], [2], [3]], np.float32) * np.ones((1, len(names)), np.float32)
    # Relative metrics are infinite where a number is 0, and recorded ones need not have any.
    least = 0 if gives(parameters["objective"]) == "probability" else 0.5
    label = np.array([least, 1, least, 1], np.float32)
    # What the parameters say of warnings is not asked here.
    loud = {**tried, "verbosity": 1, "validate_parameters": True}
    with warnings.catch_warnings(record=True) as said, xgboost.config_context(verbosity=1):
        warnings.simplefilter("always")
        rows = Examples(matrix, label)
        watched: dict[str, Any] = {"held_out": rows, "stop_after": 1} if stops else {}
        booster = boost(loud, rows, features=names, rounds=1, threads=1, **watched)
    for warning in said:
        if issubclass(warning.category, UserWarning):
            _refuse(str(warning.message), booster)
    read_forest(booster)


def _refuse(warning: str, booster: Any) -> None:
    found = _UNUSED.search(warning)
    if found is None:
        raise UsageError(
            f"XGBoost warns of the parameters: {reason(warning)}", next="mend parameters="
        )
    names = re.findall(r'"(.*?)"', found[1])
    known = sorted(_known(json.loads(booster.save_config())["learner"]))
    near = get_close_matches(names[0], known, 3)
    raise UsageError(
        f"XGBoost knows no parameter {', '.join(map(repr, names))}, and would go on without it",
        next=f"write {' or '.join(map(repr, near))}" if near else f"leave {names[0]!r} out",
    )


def _misplaced(name: str) -> UsageError:
    return UsageError(
        f"{name!r} is none of the booster's parameters", next=f"write {_ELSEWHERE[name]}"
    )


def _known(config: Any) -> Iterator[str]:
    """Every name in a booster's configuration."""
    if isinstance(config, dict):
        for name, value in config.items():
            if isinstance(value, str):
                yield name
            yield from _known(value)
    elif isinstance(config, list):
        for value in config:
            yield from _known(value)
