"""XGBoost as a training runs it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lockstep.errors import UsageError, printable
from lockstep.estimators.protocol import Examples, library

__all__ = ["best_rounds", "boost", "import_xgboost", "reason"]

_PREFIX = re.compile(r"^\[[\d:]+\]\s+(WARNING:\s+)?\S+:\d+:\s*")
_HELD_OUT = "held_out"


def import_xgboost(who: str) -> Any:
    """Raises UsageError where it is not installed."""
    return library("xgboost", who=who, extra="train")


def boost(
    parameters: Mapping[str, Any],
    examples: Examples,
    *,
    features: Sequence[str],
    rounds: int,
    threads: int,
    held_out: Examples | None = None,
    stop_after: int | None = None,
    advanced: Callable[[], None] = lambda: None,
) -> Any:
    """An xgboost.Booster. Raises UsageError for what XGBoost refuses, in its words.

    With `held_out` it has its best rounds only: those after which nothing got better on these
    rows for `stop_after` rounds, by the last eval_metric. A metric that is no finite number says
    of no round whether it is better: refused too.
    """
    import_xgboost("training")
    import xgboost

    class Rounds(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            advanced()
            return False

    with _refusals():
        about = {"feature_names": list(features), "nthread": threads}
        rows = xgboost.QuantileDMatrix(
            examples.matrix,
            label=examples.label,
            weight=examples.weight,
            max_bin=parameters.get("max_bin"),
            **about,
        )
        watched: list[Any] = []
        heard: dict[str, dict[str, list[float]]] = {}
        if held_out is not None:
            beside = xgboost.DMatrix(
                held_out.matrix, label=held_out.label, weight=held_out.weight, **about
            )
            watched.append((beside, _HELD_OUT))
        booster = xgboost.train(
            {**parameters, "nthread": threads},
            rows,
            rounds,
            evals=watched,
            evals_result=heard,
            early_stopping_rounds=stop_after if watched else None,
            verbose_eval=False,
            callbacks=[Rounds()],
        )
    _require_finite(heard.get(_HELD_OUT, {}))
    best = best_rounds(booster)
    return booster if best is None else booster[:best]


def _require_finite(heard: Mapping[str, Sequence[float]]) -> None:
    """Raises UsageError for a round of which the metric that decides, the last, says nothing."""
    if not heard:
        return
    name, values = list(heard.items())[-1]
    for position, value in enumerate(values):
        if not math.isfinite(value):
            raise UsageError(
                f"the eval_metric {name!r} on the held-out events is {value} after round"
                f" {position + 1}, so it cannot say which rounds are the best",
                left="nothing: no model was trained",
                next="an eval_metric that is finite for these labels, such as rmse or logloss",
            )


def best_rounds(booster: Any) -> int | None:
    """How many rounds were the best; None where nobody stopped early."""
    best = booster.attr("best_iteration")
    return int(best) + 1 if best is not None and best.isdecimal() else None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # its Python side raises whatever comes
        raise UsageError(
            f"XGBoost refuses to train: {reason(error)}", next="mend parameters="
        ) from None


def reason(error: Exception | str) -> str:
    """What XGBoost says, without its clock, its files and its stack."""
    words = (
        _PREFIX.sub("", str(error).strip())
        .split("Stack trace:")[0]
        .split("Objective candidate:")[0]
    )
    return printable(" ".join(words.split()), 300)
