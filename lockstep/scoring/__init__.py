"""Scoring: columns of events in, scores out. Imports no training library and no engine."""

from lockstep.scoring.scorer import Engine, OnnxScorer, Scorer, Scores
from lockstep.scoring.trusted import open_scorer

__all__ = ["Engine", "OnnxScorer", "Scorer", "Scores", "open_scorer"]
