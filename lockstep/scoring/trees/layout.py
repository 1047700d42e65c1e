"""Trees as the kernels want them: one list of comparisons, and complete trees that point into it.

1. Every split becomes "right when x >= threshold", with NaN to the left or to the right:
   x <= t says the same as x < u, u being the next float above t.
2. Splits that are the same (feature, side of NaN, threshold) become one comparison. Its outcome
   is computed once a row, however many trees ask for it.
3. Every tree is filled up to the depth of the deepest one. Below a leaf that comes early both
   sides are that leaf again, so what is asked there does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockstep.scoring.trees.tables import Array, NotForKernels, Trees

__all__ = ["DEEPEST", "Layout", "lay_out"]

DEEPEST = 8
"""Eight bits say which leaf of a tree: the kernels keep them in a byte."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Comparisons are in the order of feature, side of NaN, threshold."""

    reads: Array
    """The columns of the matrix that some tree asks for, growing. Kernels get these only."""
    depth: int
    feature: Array
    """Position in `reads`."""
    nan_right: Array
    threshold: Array
    asked: Array
    """int32[trees, 2**depth - 1]: number of the comparison at each node, level by level."""
    leaf: Array
    """float32[trees, 2**depth]: bit by bit from the top, 0 is left and 1 is right."""
    target: Array
    """Which output a tree adds to."""
    targets: int
    divisor: int

    def columns_of(self, matrix: Array) -> Array:
        """What kernels read of float32[rows, features]: float32[reads, rows]."""
        return np.ascontiguousarray(matrix[:, self.reads].T)


def lay_out(trees: Trees, features: int) -> Layout:
    """Trees over `features` columns. Raises NotForKernels for what does not fit this layout."""
    _require_comparable(trees, features)
    levels: list[Array] = []
    here = trees.roots[:, None]
    while (here >= 0).any():
        if len(levels) == DEEPEST:
            raise NotForKernels(f"it has trees of more than {DEEPEST} levels")
        levels.append(here)
        node = np.where(here >= 0, here, 0)
        below = np.where(here[..., None] >= 0, _sides(trees, node), here[..., None])
        here = below.reshape(len(here), -1)
    leaf = ~here
    target = trees.leaf_target[leaf]
    if (target != target[:, :1]).any() or target.min() < 0 or target.max() >= trees.targets:
        raise NotForKernels("a tree adds to several outputs, or to none that there is")
    nodes = np.concatenate(levels, axis=1)
    real = np.unique(nodes[nodes >= 0])
    number, first = _number(trees.feature[real], ~trees.missing_left[real], trees.below[real])
    asked = np.zeros(len(trees.feature), np.int32)
    asked[real] = number
    reads, feature = np.unique(trees.feature[real][first], return_inverse=True)
    return Layout(
        reads=reads,
        depth=len(levels),
        feature=feature,
        nan_right=~trees.missing_left[real][first],
        threshold=trees.below[real][first],
        asked=asked[np.where(nodes >= 0, nodes, real[0])],
        leaf=np.ascontiguousarray(trees.leaf[leaf]),
        target=target[:, 0],
        targets=trees.targets,
        divisor=trees.divisor,
    )


def _require_comparable(trees: Trees, features: int) -> None:
    if not len(trees.roots):
        raise NotForKernels("it has no trees")
    nodes = np.concatenate([trees.roots, trees.left, trees.right])
    if nodes.min() < -len(trees.leaf) or nodes.max() >= len(trees.feature) or trees.roots.min() < 0:
        raise NotForKernels("it leads to nodes or leaves that it does not have")
    if trees.feature.min() < 0 or trees.feature.max() >= features:
        raise NotForKernels(f"it reads other columns than the {features} that there are")
    if np.isnan(trees.threshold).any():
        raise NotForKernels("it has a threshold that is NaN")


def _sides(trees: Trees, node: Array) -> Array:
    return np.stack([trees.left[node], trees.right[node]], axis=-1)


def _number(feature: Array, nan_right: Array, threshold: Array) -> tuple[Array, Array]:
    """The number of each split's comparison, and of each comparison one split."""
    order = np.lexsort((threshold, nan_right, feature))
    new = np.zeros(len(order), bool)
    new[0] = True
    for key in (feature, nan_right, threshold):
        new[1:] |= key[order][1:] != key[order][:-1]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    return number, order[new]
