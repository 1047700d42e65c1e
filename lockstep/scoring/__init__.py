"""Scoring: columns of events in, scores out. Imports no training library and no engine."""

from lockstep.scoring.scorer import OnnxScorer, Scorer, Scores

__all__ = ["OnnxScorer", "Scorer", "Scores"]
