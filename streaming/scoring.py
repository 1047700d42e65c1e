"""Score a micro-batch so that one poison event cannot take its neighbours with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.errors import Terminal
from lockstep.scoring import Scorer
from lockstep.scoring.scorer import Scores

__all__ = ["Answer", "Survivors", "score_survivors"]


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
    kept: list[Any] = []
    poison: dict[int, str] = {}

    def attempt(span: Any) -> None:
        try:
            scores, windows = answer(span)
            if not (np.isfinite(scores.margin).all() and np.isfinite(scores.score).all()):
                raise ValueError("the model's answer is not a finite number")
        except MemoryError:
            raise
        except Exception as error:
            if len(span) == 1:
                poison[int(span[0])] = f"cannot be scored: {type(error).__name__}: {error}"
                return
            middle = len(span) // 2
            attempt(span[:middle])
            attempt(span[middle:])
        else:
            kept.append((span, scores.score, scores.margin, windows))

    if rows:
        attempt(np.arange(rows))
    if not kept:
        if rows:
            _require_sound(scorer, poison)
        empty = np.empty(0, np.float32)
        return Survivors(np.empty(0, np.int64), empty, empty, np.empty((0, 0), np.float32), poison)
    spans, scores, margins, windows = map(np.concatenate, zip(*kept, strict=True))
    return Survivors(spans, scores, margins, windows, poison)


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
