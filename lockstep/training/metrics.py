"""How good scores are, on NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockstep.estimators.protocol import Gives

__all__ = ["FALLING", "auc", "log_loss", "measure", "names"]

FALLING = frozenset({"log_loss", "mae", "rmse"})
"""Metrics that are better the smaller they are."""

Floats = np.ndarray[Any, Any]


def auc(label: Floats, score: Floats) -> float:
    """Area under the ROC curve; ties count half. NaN when only one class is there."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2)[place]
    positive = label > 0.5
    ones = int(positive.sum())
    zeros = len(label) - ones
    if not ones or not zeros:
        return float("nan")
    return float((rank[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def log_loss(label: Floats, score: Floats) -> float:
    """Mean negative log likelihood."""
    likely = np.where(label > 0.5, score, 1 - score.astype(np.float64))
    return float(-np.log(np.clip(likely, 1e-15, None)).mean())


def names(gives: Gives) -> tuple[str, ...]:
    """What `measure` measures."""
    return ("auc", "log_loss") if gives == "probability" else ("rmse", "mae")


def measure(gives: Gives, label: Floats, score: Floats) -> dict[str, float]:
    """The metrics that fit what a score is, rounded: their last digits are no one's evidence."""
    if gives == "probability":
        found = {"auc": auc(label, score), "log_loss": log_loss(label, score)}
    else:
        error = score.astype(np.float64) - label
        found = {"rmse": float(np.sqrt((error**2).mean())), "mae": float(np.abs(error).mean())}
    return {name: round(value, 6) for name, value in found.items()}
