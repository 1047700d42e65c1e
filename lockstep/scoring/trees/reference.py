"""What an ensemble answers, in plain Python: slow, obvious, and the oracle of every kernel."""

from __future__ import annotations

import numpy as np

from lockstep.scoring.trees.tables import Array, Trees

__all__ = ["reference"]


def reference(trees: Trees, matrix: Array) -> Array:
    """float32[rows, targets]: the leaves that a row ends in, added in the order of the trees."""
    totals = np.zeros((len(matrix), trees.targets), np.float32)
    for total, row in zip(totals, matrix, strict=True):
        for root in trees.roots:
            at = root
            while at >= 0:
                value, threshold = row[trees.feature[at]], trees.threshold[at]
                left = value <= threshold if trees.or_equal[at] else value < threshold
                left = trees.missing_left[at] if np.isnan(value) else left
                at = trees.left[at] if left else trees.right[at]
            total[trees.leaf_target[~at]] += trees.leaf[~at]
    # ONNX Runtime adds a base of 0 last, which tells where a tiny sum was divided: -0 becomes 0.
    return totals / np.float32(trees.divisor) + np.float32(0)
