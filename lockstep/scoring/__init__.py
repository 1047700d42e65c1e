"""Scoring: columns of events in, scores out. Imports no training library and no engine."""

from lockstep.scoring.opening import open_scorer
from lockstep.scoring.scorer import Engine, OnnxScorer, Scorer, Scores

__all__ = ["Engine", "OnnxScorer", "Scorer", "Scores", "open_scorer"]
