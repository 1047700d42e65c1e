"""Score a micro-batch so that one poison event cannot take its neighbours with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.bisection import Rows, bisect
from lockstep.contracts import Columns, Contract
from lockstep.errors import Terminal, reason_of
from lockstep.scoring import Scorer
from lockstep.scoring.scorer import Scores
from streaming.model_refresh import Serving
from streaming.windowing import Windowed

__all__ = ["Answer", "Survivors", "answer_of", "entities_of", "score_survivors"]


Answer = Callable[[Any], tuple[Scores, Any]]
"""Row numbers -> their scores and window values, float32[rows, windows]."""


@dataclass(frozen=True)
class Survivors:
    """Scores of the rows that could be scored; the others by row number, with why."""

    rows: Any
    score: Any
    margin: Any
    windows: Any
    poison: dict[int, str]


def score_survivors(answer: Answer, rows: int, scorer: Scorer) -> Survivors:
    """Score `rows` rows, finding those that cannot be scored by bisection.

    Raises Terminal when the model no longer scores even what it carries in itself.
    """

    def attempt(part: Rows) -> tuple[Scores, Any]:
        scores, windows = answer(part)
        if not (np.isfinite(scores.margin).all() and np.isfinite(scores.score).all()):
            raise ValueError("the model's answer is not a finite number")
        return scores, windows

    kept, raising = bisect(rows, attempt)
    poison = {row: f"cannot be scored: {reason_of(error)}" for row, error in raising.items()}
    if not kept:
        if rows:
            _require_sound(scorer, poison)
        empty = np.empty(0, np.float32)
        return Survivors(np.empty(0, np.int64), empty, empty, np.empty((0, 0), np.float32), poison)
    return Survivors(
        rows=np.concatenate([part for part, _ in kept]),
        score=np.concatenate([scores.score for _, (scores, _) in kept]),
        margin=np.concatenate([scores.margin for _, (scores, _) in kept]),
        windows=np.concatenate([windows for _, (_, windows) in kept]),
        poison=poison,
    )


def _require_sound(scorer: Scorer, poison: dict[int, str]) -> None:
    """Not one event could be scored: is it the events, or the model?"""
    try:
        scorer.warm()
    except Exception as error:
        raise Terminal(
            f"the model no longer scores its own golden rows: {error}; nor events: {poison[0]}",
            left="nothing was written; the events stay in Kafka",
            next="lockstep verify MODEL, then approve a version that scores",
        ) from error


def answer_of(
    serving: Serving, columns: Columns, windowed: Windowed | None, rows: Any
) -> tuple[Scores, Any]:
    """Scores and window values of some rows."""
    whole = len(rows) == len(columns[serving.contract.id])
    part = columns if whole else {name: column[rows] for name, column in columns.items()}
    if windowed is None:
        return serving.scorer.score(part), np.empty((len(rows), 0), np.float32)
    windows = windowed.values(part, part[serving.contract.time])
    return serving.scorer.score(part, windows), windows


def entities_of(contract: Contract, columns: Columns, rows: Any) -> list[str]:
    if contract.entity is None:
        return [""] * len(rows)
    return list(columns[contract.entity][rows].tolist())
