"""The kernel that needs NumPy only: 64 rows in one integer, a bit for each.

For every chunk of rows:

1. Ask each comparison of all rows: one bit a row, 1 for "to the right". 64 rows make a word.
2. Take, for a group of trees, the words that their nodes ask for, level by level.
3. From the lowest level up, let each node choose between what its two sides say about the levels
   below it: left ^ ((left ^ right) & chosen). What arrives at the root is, for each level, the
   turn that the row takes there: the bits of its leaf's number.
4. Spread those bits to one byte a row, and look the leaves up.
5. Add them in float32 in the order of the trees, which is how ONNX Runtime adds them.
"""

from __future__ import annotations

import numpy as np

from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.tables import Array

__all__ = ["NumpyKernel"]

_WORD = 64
_CHUNK = 2048
"""Rows of a chunk: the bits of all comparisons, and of a group of trees, stay in the L2 cache."""
_GROUP = 65_536
"""Leaf look-ups of a group of trees (trees x rows), for the same reason."""
_BUFFER = 1024
"""Elements of NumPy's own buffer. With its default of 8,192 a comparison that is broadcast over
fewer columns than that is several times slower."""


class NumpyKernel:
    """See the module."""

    name = "numpy"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._threshold = layout.threshold[:, None]
        self._runs = _runs(layout)
        self._levels = _levels(layout)
        trees, leaves = layout.leaf.shape
        self._leaf = layout.leaf.ravel()
        self._first_leaf = np.arange(0, trees * leaves, leaves)[:, None]

    def __call__(self, matrix: Array) -> Array:
        layout = self._layout
        totals = np.zeros((layout.targets, len(matrix)), np.float32)
        former = np.setbufsize(_BUFFER)
        try:
            for start in range(0, len(matrix), _CHUNK):
                rows = slice(start, start + _CHUNK)
                self._add(matrix[rows], totals[:, rows])
        finally:
            np.setbufsize(former)
        if layout.divisor != 1:
            totals /= np.float32(layout.divisor)
        return np.ascontiguousarray(totals.T)

    def _add(self, matrix: Array, totals: Array) -> None:
        """Add every tree's leaves to `totals`."""
        rows = len(matrix)
        bits = self._ask(matrix)
        group = max(1, _GROUP // rows)
        for first in range(0, len(self._layout.leaf), group):
            trees = slice(first, first + group)
            leaf = self._leaf.take(self._leaves(bits, trees, rows), mode="clip")
            for target, value in zip(self._layout.target[trees], leaf, strict=True):
                totals[target] += value

    def _ask(self, matrix: Array) -> Array:
        """uint64[comparisons, words]: step 1. The rows of the last word that are none are 0."""
        words = -(-len(matrix) // _WORD)
        columns = np.zeros((matrix.shape[1], words * _WORD), np.float32)
        columns[:, : len(matrix)] = matrix.T
        bits = np.empty((len(self._threshold), words * _WORD // 8), np.uint8)
        for feature, nan_right, run in self._runs:
            # A comparison with NaN is false: so ask for what NaN does not do.
            if nan_right:
                left = np.less(columns[feature], self._threshold[run])
                np.invert(_packed(left), out=bits[run])
            else:
                bits[run] = _packed(np.greater_equal(columns[feature], self._threshold[run]))
        return bits.view(np.uint64)

    def _leaves(self, bits: Array, trees: slice, rows: int) -> Array:
        """intp[trees, rows]: where the values of the leaves lie; steps 2 to 4."""
        # Of the levels from here down: the turns of each node's rows, [node, tree, word].
        turns: list[Array] = []
        for asked in reversed(self._levels):
            chosen = bits.take(asked[:, trees], axis=0, mode="clip")
            above = [chosen]
            for turn in turns:
                left, right = turn[: len(chosen)], turn[len(chosen) :]
                right ^= left
                right &= chosen
                right ^= left
                above.append(right)
            turns = above
        spread = [np.unpackbits(t[0].view(np.uint8), axis=1, bitorder="little") for t in turns]
        number = spread[0]
        for turn in spread[1:]:
            number += number
            number |= turn
        return np.add(number[:, :rows], self._first_leaf[trees], dtype=np.intp)


def _packed(outcomes: Array) -> Array:
    # Flat, because packing along an axis takes every row by itself; 64 rows leave no remainder.
    return np.packbits(outcomes.ravel(), bitorder="little").reshape(len(outcomes), -1)


def _runs(layout: Layout) -> list[tuple[int, bool, slice]]:
    """The comparisons in runs of the same feature and side of NaN."""
    changes = (np.diff(layout.feature) != 0) | (np.diff(layout.nan_right) != 0)
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(layout.feature)]
    return [
        (int(layout.feature[begin]), bool(layout.nan_right[begin]), slice(begin, end))
        for begin, end in zip(borders, borders[1:], strict=False)
    ]


def _levels(layout: Layout) -> list[Array]:
    """intp[nodes, trees] for each level, all left children before all right ones.

    So the two sides of a level's nodes are the two halves of the next level, without a copy.
    """
    levels = []
    order = np.zeros(1, np.intp)
    for depth in range(layout.depth):
        first = (1 << depth) - 1
        levels.append(np.ascontiguousarray(layout.asked[:, first + order].T.astype(np.intp)))
        order = np.concatenate([2 * order, 2 * order + 1])
    return levels
