"""XGBoost's trees as an ONNX TreeEnsemble that adds the same float32 numbers in the same order."""

from __future__ import annotations

import numpy as np
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as op
from spox import Var

from lockstep.estimators.xgboost.forest import Forest

__all__ = ["margin_and_score"]

_SUM = 1
_BRANCH_LT = 1


def margin_and_score(matrix: Var, forest: Forest) -> tuple[Var, Var]:
    """The estimator's graph on float32[n, features]: margin and score, float32[n]."""
    total = ml.tree_ensemble(
        matrix,
        aggregate_function=_SUM,
        n_targets=1,
        leaf_targetids=[0] * len(forest.leaf),
        leaf_weights=np.array(forest.leaf, np.float32),
        nodes_featureids=forest.feature,
        nodes_splits=np.array(forest.threshold, np.float32),
        nodes_modes=np.full(len(forest.feature), _BRANCH_LT, np.uint8),
        nodes_missing_value_tracks_true=forest.missing_left,
        nodes_truenodeids=forest.left,
        nodes_trueleafs=forest.left_leaf,
        nodes_falsenodeids=forest.right,
        nodes_falseleafs=forest.right_leaf,
        tree_roots=forest.roots,
    )
    margin = op.squeeze(total, op.const([1]))
    # An identity, because two outputs of a graph may not be the same value.
    score = op.sigmoid(margin) if forest.estimator.link == "logistic" else op.identity(margin)
    return margin, score
