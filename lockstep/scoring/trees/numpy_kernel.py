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

import math
from itertools import pairwise

import numpy as np

from lockstep.scoring.trees.kernel import require_columns
from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.tables import Array

__all__ = ["NumpyKernel"]

_WORD = 64
_CHUNK = 4096
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

    def __call__(self, columns: Array) -> Array:
        require_columns(columns, self._layout)
        layout, rows = self._layout, columns.shape[1]
        totals = np.zeros((layout.targets, rows), np.float32)
        former = np.setbufsize(_BUFFER)
        try:
            scratch = _Scratch(layout, min(rows, _CHUNK))
            for start in range(0, rows, _CHUNK):
                chunk = slice(start, start + _CHUNK)
                self._add(columns[:, chunk], totals[:, chunk], scratch)
        finally:
            np.setbufsize(former)
        if layout.divisor != 1:
            totals /= np.float32(layout.divisor)
            totals += np.float32(0)  # ONNX Runtime adds a base of 0 last: -0 becomes 0
        return np.ascontiguousarray(totals.T)

    def _add(self, columns: Array, totals: Array, scratch: _Scratch) -> None:
        """Add every tree's leaves to `totals`."""
        layout, rows = self._layout, columns.shape[1]
        bits = self._ask(columns, scratch)
        for first in range(0, len(layout.leaf), scratch.group):
            trees = slice(first, first + scratch.group)
            number = self._leaf_numbers(bits, trees, scratch)[:, :rows]
            place = _shaped(scratch.place, number.shape)
            np.add(number, self._first_leaf[trees], out=place, dtype=np.intp)
            value = self._leaf.take(place, mode="clip", out=_shaped(scratch.value, number.shape))
            for target, values in zip(layout.target[trees].tolist(), value, strict=True):
                totals[target] += values

    def _ask(self, columns: Array, scratch: _Scratch) -> Array:
        """uint64[comparisons, words]: step 1. The rows of the last word that are none are 0."""
        rows = columns.shape[1]
        words = -(-rows // _WORD)
        if rows % _WORD:
            whole = np.zeros((len(columns), words * _WORD), np.float32)
            whole[:, :rows] = columns
            columns = whole
        bits = _shaped(scratch.bits, (len(self._threshold), words))
        octets = bits.view(np.uint8)
        for feature, nan_right, run in self._runs:
            # A comparison with NaN is false: so ask for what NaN does not do.
            if nan_right:
                left = np.less(columns[feature], self._threshold[run])
                np.invert(_packed(left), out=octets[run])
            else:
                octets[run] = _packed(np.greater_equal(columns[feature], self._threshold[run]))
        return bits

    def _leaf_numbers(self, bits: Array, trees: slice, scratch: _Scratch) -> Array:
        """uint8[trees, rows]: which leaf of its tree; steps 2 to 4."""
        words, lowest = bits.shape[1], len(self._levels) - 1
        # Of a level and each one below it: the turns of every node's rows, [level, node, tree].
        below = self._chosen(bits, lowest, trees, scratch)
        for depth in reversed(range(lowest)):
            turns = self._chosen(bits, depth, trees, scratch)
            nodes = turns.shape[1]
            left, right = below[:, :nodes], below[:, nodes:]
            np.bitwise_xor(left, right, out=turns[1:])
            turns[1:] &= turns[0]
            turns[1:] ^= left
            below = turns
        number = _spread(below[0])
        for turn in below[1:]:
            number += number
            number |= _spread(turn)
        return number.reshape(-1, words * _WORD)

    def _chosen(self, bits: Array, depth: int, trees: slice, scratch: _Scratch) -> Array:
        """uint64[levels from `depth` down, nodes, trees, words], of which only the first is set."""
        asked = self._levels[depth][:, trees]
        shape = (len(self._levels) - depth, *asked.shape, bits.shape[1])
        turns = _shaped(scratch.turns[depth % 2], shape)
        bits.take(asked, axis=0, mode="clip", out=turns[0])
        return turns


class _Scratch:
    """Memory of one call. Fresh memory costs more than what is done with it here."""

    def __init__(self, layout: Layout, rows: int) -> None:
        words = -(-rows // _WORD)
        self.group = min(len(layout.leaf), max(1, _GROUP // max(1, rows)))
        self.bits = np.empty(len(layout.threshold) * words, np.uint64)
        # The lowest level has 1 x 2**(depth - 1), the one above it 2 x 2**(depth - 2), then less.
        most = (1 << (layout.depth - 1)) * self.group * words
        self.turns = (np.empty(most, np.uint64), np.empty(most, np.uint64))
        self.place = np.empty(self.group * rows, np.intp)
        self.value = np.empty(self.group * rows, np.float32)


def _shaped(memory: Array, shape: tuple[int, ...]) -> Array:
    return memory[: math.prod(shape)].reshape(shape)


def _spread(turn: Array) -> Array:
    """A byte for each bit."""
    return np.unpackbits(turn.ravel().view(np.uint8), bitorder="little")


def _packed(outcomes: Array) -> Array:
    # Flat, because packing along an axis takes every row by itself; 64 rows leave no remainder.
    return np.packbits(outcomes.ravel(), bitorder="little").reshape(len(outcomes), -1)


def _runs(layout: Layout) -> list[tuple[int, bool, slice]]:
    """The comparisons in runs of the same feature and side of NaN."""
    changes = (np.diff(layout.feature) != 0) | (np.diff(layout.nan_right) != 0)
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(layout.feature)]
    return [
        (int(layout.feature[begin]), bool(layout.nan_right[begin]), slice(begin, end))
        for begin, end in pairwise(borders)
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
