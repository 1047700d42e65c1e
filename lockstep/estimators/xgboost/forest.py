"""XGBoost's trees, read from its own file, so that they add the same float32 numbers in one order.

XGBoost answers ((base + leaf of tree 0) + leaf of tree 1) + ... in float32. ONNX Runtime, on
one thread, adds leaves in the order of the trees, so the base margin is added to the leaves of
the first tree beforehand. The base margin of a `binary:` objective is the logit of the base
score, which XGBoost cuts off at one millionth: taken in float64 and rounded once, for in float32
it is one bit off for some models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from lockstep.compiled_model.manifest import Estimator
from lockstep.errors import UsageError
from lockstep.estimators.protocol import Gives

__all__ = [
    "OBJECTIVES",
    "Forest",
    "gives",
    "read_forest",
    "require_objective",
    "require_trees",
]

_LINKS: Mapping[str, Literal["logistic", "identity"]] = {
    "binary:logistic": "logistic",
    "reg:squarederror": "identity",
}
OBJECTIVES = tuple(_LINKS)
"""Those that can be compiled exactly."""
_LEAST = np.float32(1e-6)
"""XGBoost takes the logit of no score nearer to 0 or 1."""


@dataclass(frozen=True)
class Forest:
    """A booster's trees: nodes of all trees in one list, leaves in another."""

    estimator: Estimator
    features: int
    roots: list[int] = field(repr=False)
    feature: list[int] = field(repr=False)
    threshold: list[float] = field(repr=False)
    missing_left: list[int] = field(repr=False)
    left: list[int] = field(repr=False)
    """Number of the node, or of the leaf where left_leaf is 1. The same for right."""
    left_leaf: list[int] = field(repr=False)
    right: list[int] = field(repr=False)
    right_leaf: list[int] = field(repr=False)
    leaf: list[float] = field(repr=False)


def read_forest(booster: Any) -> Forest:
    """The trees of an xgboost.Booster. Raises UsageError for what cannot be converted exactly."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective = learner["objective"]["name"]
    require_objective(objective)
    require_trees(learner["gradient_booster"]["name"])
    targets = int(learner["learner_model_param"].get("num_target", 1))
    if targets > 1:
        raise UsageError(
            f"the booster answers {targets} numbers a row, which cannot be compiled",
            next="train a model a label",
        )
    trees = learner["gradient_booster"]["model"]["trees"]
    if not trees:
        raise UsageError("the booster has no trees")
    builder = _Builder(_base_margin(learner, objective))
    features = int(learner["learner_model_param"]["num_feature"])
    for tree in trees:
        _require_tree(tree, features)
        builder.add(tree)
    estimator = Estimator(
        kind="xgboost",
        objective=objective,
        link=_LINKS[objective],
        trees=len(trees),
        depth=builder.depth,
    )
    return Forest(estimator, features, **builder.tables)


def require_objective(objective: Any) -> None:
    """Raises UsageError for an objective that cannot be compiled exactly, or that is none."""
    if objective in OBJECTIVES:
        return
    near = get_close_matches(str(objective), OBJECTIVES, 1)
    raise UsageError(
        f"the objective {objective!r} cannot be compiled exactly (can be: {', '.join(OBJECTIVES)})",
        next=f'"objective": "{near[0] if near else OBJECTIVES[0]}"',
    )


def gives(objective: str) -> Gives:
    """What an objective's scores are."""
    return "probability" if _LINKS[objective] == "logistic" else "number"


def require_trees(booster: Any) -> None:
    """Raises UsageError for a kind of booster that cannot be compiled exactly."""
    if booster != "gbtree":
        raise UsageError(
            f"the booster {booster!r} cannot be compiled exactly (can be: gbtree)",
            next='"booster": "gbtree", or leave it out',
        )


def _require_tree(tree: Mapping[str, Any], features: int) -> None:
    """Raises UsageError for places that are none: XGBoost would read beside its memory."""
    lefts, rights, asked = (
        tree[name] for name in ("left_children", "right_children", "split_indices")
    )
    branches = [node for node, left in enumerate(lefts) if left != -1]
    children = [(node, child) for node in branches for child in (lefts[node], rights[node])]
    # Children come after their parents: so there is no circle, and each is reached once.
    whole = (
        len(lefts) == len(rights) == len(asked) > 0
        and all(node < child < len(lefts) for node, child in children)
        and len({child for _, child in children}) == len(children)
        and {0, *(child for _, child in children)} >= {*branches}
        and all(0 <= asked[node] < features for node in branches)
    )
    if not whole:
        raise UsageError(
            "a tree of the booster is damaged: its nodes lead to none, or ask for no feature"
        )


class _Builder:
    """Appends trees to flat tables."""

    def __init__(self, base: np.float32) -> None:
        self._base = base
        self.depth = 0
        names = ("roots", "feature", "threshold", "missing_left")
        children = ("left", "left_leaf", "right", "right_leaf")
        self.tables: dict[str, list[Any]] = {name: [] for name in (*names, *children, "leaf")}

    def add(self, tree: dict[str, Any]) -> None:
        if any(tree.get("split_type", [])):
            raise UsageError(
                "a tree splits on categories, which cannot be compiled exactly",
                next="encode the category as a number in features.py",
            )
        values = np.array(tree["split_conditions"], np.float32)
        if not np.isfinite(values[np.array(tree["left_children"]) == -1]).all():
            raise UsageError(
                "a leaf of the booster is no finite number: labels were too large for float32",
                next="scale the label, for instance to thousands",
            )
        if not self.tables["roots"]:
            values = np.where(np.array(tree["left_children"]) == -1, values + self._base, values)
        lefts, rights = tree["left_children"], tree["right_children"]
        first = len(self.tables["feature"])
        self.tables["roots"].append(first)
        if lefts[0] == -1:
            self._stump(float(values[0]))
            return
        branches = [node for node, left in enumerate(lefts) if left != -1]
        number = {node: first + position for position, node in enumerate(branches)}
        level = {0: 1}
        for node in branches:
            self._append(feature=tree["split_indices"][node], threshold=float(values[node]))
            self._append(missing_left=int(tree["default_left"][node]))
            for side, child in (("left", lefts[node]), ("right", rights[node])):
                level[child] = level[node] + 1
                if lefts[child] == -1:
                    self._append(leaf=float(values[child]))
                    self._append(**{side: len(self.tables["leaf"]) - 1, f"{side}_leaf": 1})
                else:
                    self._append(**{side: number[child], f"{side}_leaf": 0})
        self.depth = max(self.depth, *(level[node] for node in branches))

    def _stump(self, value: float) -> None:
        """A tree of one leaf: ONNX wants a node, so both of its sides lead to that leaf."""
        self._append(leaf=value)
        leaf = len(self.tables["leaf"]) - 1
        self._append(feature=0, threshold=0.0, missing_left=0)
        self._append(left=leaf, left_leaf=1, right=leaf, right_leaf=1)

    def _append(self, **values: Any) -> None:
        for name, value in values.items():
            self.tables[name].append(value)


def _base_margin(learner: dict[str, Any], objective: str) -> np.float32:
    text = str(learner["learner_model_param"]["base_score"])
    scores = json.loads(text) if text.startswith("[") else [float(text)]
    if len(scores) != 1:
        raise UsageError(f"the booster has {len(scores)} base scores, not one")
    base = np.float32(scores[0])
    if objective.startswith("binary:"):
        base = np.clip(base, _LEAST, np.float32(1) - _LEAST)
        # XGBoost's own expression: the odds in float32, their logarithm in float64.
        return np.float32(-np.log(np.float64(np.float32(1) / base - np.float32(1))))
    return base
