"""Score a micro-batch so that one poison event cannot take its neighbours with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.contracts import Columns
from lockstep.errors import Terminal
from lockstep.scoring import Scorer

__all__ = ["Survivors", "score_survivors"]


@dataclass(frozen=True)
class Survivors:
    """Scores of the rows that could be scored; the others by row number, with why."""

    rows: Any
    score: Any
    margin: Any
    poison: dict[int, str]


def score_survivors(scorer: Scorer, columns: Columns, rows: int) -> Survivors:
    """Score `rows` rows, finding those that cannot be scored by bisection.

    Raises Terminal when the model no longer scores even what it carries in itself.
    """
    kept: list[Any] = []
    poison: dict[int, str] = {}

    def attempt(span: Any) -> None:
        part = columns if len(span) == rows else {n: c[span] for n, c in columns.items()}
        try:
            scores = scorer.score(part)
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
            kept.append((span, scores.score, scores.margin))

    if rows:
        attempt(np.arange(rows))
    if not kept:
        if rows:
            _require_sound(scorer, poison)
        empty = np.empty(0, np.float32)
        return Survivors(np.empty(0, np.int64), empty, empty, poison)
    spans, scores, margins = zip(*kept, strict=True)
    return Survivors(np.concatenate(spans), np.concatenate(scores), np.concatenate(margins), poison)


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
