"""Rows that tell two evaluations of the same trees apart, if anything does.

For a sample of the nodes: a row that really arrives there, with the node's threshold, and with
the floats next to it. For every column: NaN, infinities, both zeros, the least and the greatest
floats. Drawn with a fixed seed: the same trees get the same rows.
"""

from __future__ import annotations

import numpy as np

from lockstep.scoring.trees.layout import DEEPEST
from lockstep.scoring.trees.tables import Array, Trees

__all__ = ["edge_rows"]

_SEED = 0
_NODES = 1024
"""Nodes of the sample: with three rows each, ONNX Runtime takes some hundredths of a second."""
_SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38], np.float32
)
_LEAST, _GREATEST = np.float32(-np.inf), np.float32(np.inf)


def edge_rows(trees: Trees, features: int) -> Array:
    """float32[rows, features]"""
    draw = np.random.default_rng(_SEED)
    below, parents = trees.below, _parents(trees)
    nodes = np.arange(len(below))
    sample = draw.permutation(nodes)[:_NODES]
    with np.errstate(over="ignore", under="ignore"):
        arriving = [_arriving(trees, below, parents, int(node), features) for node in sample]
        at = np.array(arriving, np.float32).reshape(-1, features)
        beside = [at]
        for side in (_LEAST, _GREATEST):
            moved = at.copy()
            column = (np.arange(len(sample)), trees.feature[sample])
            moved[column] = np.nextafter(at[column], side)
            beside.append(moved)
    special = at[draw.integers(0, len(at), features * len(_SPECIAL))]
    special[np.arange(len(special)), np.repeat(np.arange(features), len(_SPECIAL))] = np.tile(
        _SPECIAL, features
    )
    lost = draw.choice(_SPECIAL, special.shape)
    return np.concatenate(
        [*beside, special, np.where(draw.random(lost.shape) < 0.3, lost, special)]
    )


def _parents(trees: Trees) -> dict[int, tuple[int, bool]]:
    """Node -> the node above it, and whether it is that one's left side."""
    return {
        int(child): (node, is_left)
        for side, is_left in ((trees.left, True), (trees.right, False))
        for node, child in enumerate(side)
        if child >= 0
    }


def _arriving(
    trees: Trees, below: Array, parents: dict[int, tuple[int, bool]], node: int, features: int
) -> list[np.float32]:
    """A row that arrives at `node` and has its threshold, unless the nodes above exclude that."""
    least, beyond = [_LEAST] * features, [_GREATEST] * features
    at = node
    for _ in range(DEEPEST):
        if at not in parents:
            break
        at, is_left = parents[at]
        feature = trees.feature[at]
        if is_left:
            beyond[feature] = min(beyond[feature], below[at])
        else:
            least[feature] = max(least[feature], below[at])
    # As near to the borders as it gets: they are thresholds, too.
    row = [
        low if low > _LEAST else high if high == _GREATEST else np.nextafter(high, _LEAST)
        for low, high in zip(least, beyond, strict=True)
    ]
    row[trees.feature[node]] = below[node]
    return row
