"""A TreeEnsemble node of ONNX, read into plain arrays.

Read is what the kernels can answer in every bit as ONNX Runtime does: float32 splits of
`x < threshold` or `x <= threshold`, sums or averages, no transform inside of the node.
Everything else raises NotForKernels with the reason, and stays with ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto
from onnx.helper import get_attribute_value
from onnx.numpy_helper import to_array

__all__ = ["Array", "NotForKernels", "Trees", "read_trees"]

Array = np.ndarray[Any, Any]
# The operator's own numbers, as ai.onnx.ml 5 defines them.
_AVERAGE, _SUM = 0, 1
_BRANCH_LEQ, _BRANCH_LT = 0, 1
_NO_TRANSFORM = 0


class NotForKernels(Exception):
    """Why an ensemble stays with ONNX Runtime. Not an error: a model may be of any kind."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Nodes of all trees in one list, leaves in another.

    A child that is not negative is a node; a negative one is the leaf `~child`.
    """

    roots: Array
    feature: Array
    threshold: Array
    or_equal: Array
    """Whether a row goes left at x <= threshold; otherwise at x < threshold."""
    missing_left: Array
    """Whether NaN goes left."""
    left: Array
    right: Array
    leaf: Array
    leaf_target: Array
    """Which output a leaf's value is added to."""
    targets: int
    divisor: int
    """What the sums are divided by in the end: the number of trees for an average, else 1."""

    @property
    def below(self) -> Array:
        """The thresholds, each as the t of an x < t that says the same."""
        with np.errstate(over="ignore", under="ignore"):  # next to infinity, next to zero
            above: Array = np.nextafter(self.threshold, np.float32(np.inf))
        return np.where(self.or_equal, above, self.threshold)


def read_trees(node: NodeProto) -> Trees:
    """The tables of a node. Raises NotForKernels."""
    given = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
    splits = to_array(given["nodes_splits"])
    if splits.dtype != np.float32:
        raise NotForKernels(f"its splits are {splits.dtype}, not float32")
    modes = to_array(given["nodes_modes"])
    if not np.isin(modes, (_BRANCH_LEQ, _BRANCH_LT)).all():
        raise NotForKernels("it has other comparisons than x < threshold and x <= threshold")
    if given.get("post_transform", _NO_TRANSFORM) != _NO_TRANSFORM:
        raise NotForKernels("it transforms its sums itself")
    aggregate = given.get("aggregate_function", _SUM)
    if aggregate not in (_SUM, _AVERAGE):
        raise NotForKernels("it takes the least or the greatest leaf")
    roots = np.array(given["tree_roots"], np.int64)
    missing = given.get("nodes_missing_value_tracks_true") or [0] * len(splits)
    missing_left = np.array(missing, np.int64) != 0
    left = _children(given["nodes_truenodeids"], given["nodes_trueleafs"])
    right = _children(given["nodes_falsenodeids"], given["nodes_falseleafs"])
    # x <= infinity, which no x < t says, but which every number is: with its sides exchanged it
    # asks for x < -infinity, which no number is. scikit-learn splits NaN from numbers like that.
    always = (modes == _BRANCH_LEQ) & (splits == np.inf)
    return Trees(
        roots=roots,
        feature=np.array(given["nodes_featureids"], np.int64),
        threshold=np.where(always, -splits, splits),
        or_equal=(modes == _BRANCH_LEQ) & ~always,
        missing_left=missing_left ^ always,
        left=np.where(always, right, left),
        right=np.where(always, left, right),
        leaf=to_array(given["leaf_weights"]).astype(np.float32),
        leaf_target=np.array(given["leaf_targetids"], np.int64),
        targets=int(given["n_targets"]),
        divisor=len(roots) if aggregate == _AVERAGE else 1,
    )


def _children(number: list[int], is_leaf: list[int]) -> Array:
    numbers = np.array(number, np.int64)
    return np.where(np.array(is_leaf) != 0, ~numbers, numbers)
