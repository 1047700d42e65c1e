"""Random ensembles and rows at their edges, for the tests of the tree kernels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xgboost
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
)
from onnx.numpy_helper import from_array

from lockstep.compiled_model.inference import open_session

LT, LEQ = 1, 0
SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 1.0, 16777217.0],
    np.float32,
)
SMALL = np.array([0.0, -0.0, 1e-45, -1e-45, 3e-45, -1.1754944e-38], np.float32)


@dataclass(frozen=True)
class Case:
    """What to draw an ensemble from."""

    seed: int
    trees: int
    depth: int
    features: int = 4
    targets: int = 1
    thresholds: int = 12
    """How many different ones: few of them repeat a lot."""
    stop: float = 0.2
    """How often a node is a leaf before the full depth."""
    modes: tuple[int, ...] = (LT,)
    average: bool = False
    infinite: bool = False
    """Whether infinity is a threshold."""
    small: bool = False
    """Whether leaves are zeros and denormals."""


cases = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    trees=st.integers(1, 12),
    depth=st.integers(0, 8),
    features=st.integers(1, 7),
    targets=st.sampled_from([1, 1, 2, 5]),
    thresholds=st.sampled_from([1, 3, 40]),
    stop=st.sampled_from([0.0, 0.2, 0.7]),
    modes=st.sampled_from([(LT,), (LEQ,), (LT, LEQ)]),
    average=st.booleans(),
)


class Drawn:
    """An ensemble: its node, ONNX Runtime over it, and rows to answer."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._draw = np.random.default_rng(case.seed)
        normal = self._draw.normal(size=case.thresholds).astype(np.float32)
        pool = np.concatenate([normal, self._draw.permutation(SPECIAL)])
        if case.infinite:
            pool = np.concatenate([pool, np.array([np.inf, -np.inf], np.float32)])
        self.pool = pool[: case.thresholds] if case.thresholds < 3 else pool
        self.trees = [self._tree(0) for _ in range(case.trees)]
        self.node = self.as_node()

    def _tree(self, level: int) -> Any:
        """A leaf's value, or (feature, threshold, mode, missing left, left, right)."""
        if level == self.case.depth or (level and self._draw.random() < self.case.stop):
            if self.case.small:
                return self._draw.choice(SMALL)
            return np.float32(self._draw.normal() * 10.0 ** self._draw.integers(-3, 4))
        return (
            int(self._draw.integers(self.case.features)),
            self._draw.choice(self.pool),
            int(self._draw.choice(self.case.modes)),
            int(self._draw.integers(2)),
            self._tree(level + 1),
            self._tree(level + 1),
        )

    def as_node(self) -> NodeProto:
        columns: dict[str, list[Any]] = {
            name: []
            for name in (
                *("featureids", "splits", "modes", "missing_value_tracks_true"),
                *("truenodeids", "trueleafs", "falsenodeids", "falseleafs"),
            )
        }
        leaves: list[tuple[int, np.float32]] = []
        roots = []

        def leaf(value: np.float32, target: int) -> tuple[int, int]:
            leaves.append((target, value))
            return len(leaves) - 1, 1

        def add(tree: Any, target: int) -> tuple[int, int]:
            if not isinstance(tree, tuple):
                return leaf(tree, target)
            at = len(columns["splits"])
            for column in columns.values():
                column.append(0)
            for name, value in zip(list(columns)[:4], tree[:4], strict=True):
                columns[name][at] = value
            for side, child in (("true", tree[4]), ("false", tree[5])):
                columns[f"{side}nodeids"][at], columns[f"{side}leafs"][at] = add(child, target)
            return at, 0

        for number, tree in enumerate(self.trees):
            roots.append(len(columns["splits"]))
            if not isinstance(tree, tuple):
                # ONNX knows no tree without a node: both sides are the leaf.
                for column, value in zip(columns.values(), (0, 0.0, LT, 0), strict=False):
                    column.append(value)
                at, _ = leaf(tree, number % self.case.targets)
                for side in ("true", "false"):
                    columns[f"{side}nodeids"].append(at)
                    columns[f"{side}leafs"].append(1)
            else:
                add(tree, number % self.case.targets)
        return make_node(
            "TreeEnsemble",
            ["matrix"],
            ["total"],
            domain="ai.onnx.ml",
            aggregate_function=0 if self.case.average else 1,
            n_targets=self.case.targets,
            tree_roots=roots,
            leaf_targetids=[target for target, _ in leaves],
            leaf_weights=from_array(np.array([value for _, value in leaves], np.float32)),
            nodes_splits=from_array(np.array(columns.pop("splits"), np.float32)),
            nodes_modes=from_array(np.array(columns.pop("modes"), np.uint8)),
            **{f"nodes_{name}": column for name, column in columns.items()},
        )

    def model(self) -> ModelProto:
        shape = ["N", self.case.features]
        matrix = make_tensor_value_info("matrix", TensorProto.FLOAT, shape)
        total = make_tensor_value_info("total", TensorProto.FLOAT, ["N", self.case.targets])
        opsets = [make_opsetid("", 21), make_opsetid("ai.onnx.ml", 5)]
        graph = make_graph([self.node], "trees", [matrix], [total])
        return make_model(graph, opset_imports=opsets, ir_version=10)

    def runtime(self) -> Any:
        """matrix -> what ONNX Runtime answers."""
        session = open_session(self.model().SerializeToString())
        return lambda matrix: session.run(None, {"matrix": matrix})[0]

    def rows(self, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Thresholds, their neighbours, and everything that is not a number like others."""
        up, down = np.float32(np.inf), np.float32(-np.inf)
        with np.errstate(all="ignore"):
            near = [self.pool, np.nextafter(self.pool, up), np.nextafter(self.pool, down)]
        rare = np.array([np.nan, np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
        values = np.concatenate([*near, SPECIAL, rare, rare])
        return self._draw.choice(values, (count, self.case.features))

    def booster(self) -> xgboost.Booster:
        """The same trees in XGBoost: x < threshold, sums, finite thresholds."""
        targets = self.case.targets
        document = json.loads(_any_booster(self.case.features, targets))
        model = document["learner"]["gradient_booster"]["model"]
        param = dict(model["trees"][0]["tree_param"])
        model["trees"] = [_native(i, tree, param) for i, tree in enumerate(self.trees)]
        model["tree_info"] = [i % targets for i in range(len(self.trees))]
        model["gbtree_model_param"]["num_trees"] = str(len(self.trees))
        model["iteration_indptr"] = [*range(0, len(self.trees) + 1, targets)]
        loaded = xgboost.Booster({"nthread": 1})
        loaded.load_model(bytearray(json.dumps(document).encode()))
        return loaded


@cache
def _any_booster(features: int, targets: int) -> bytes:
    """A booster without a base score, as JSON: a shell for other trees."""
    kind = {"objective": "multi:softprob", "num_class": targets} if targets > 1 else {}
    parameters = {"objective": "reg:squarederror", "base_score": 0, "nthread": 1, **kind}
    label = np.arange(max(2, targets))
    rows = xgboost.DMatrix(np.zeros((len(label), features)), label=label)
    return bytes(xgboost.train(parameters, rows, 1).save_raw("json"))


def _native(number: int, tree: Any, param: dict[str, str]) -> dict[str, Any]:
    """A tree as XGBoost writes it: a right child always comes next after its left one."""
    nodes = [{"parents": 2**31 - 1}]
    drawn = [tree]
    for at, here in enumerate(drawn):
        if isinstance(here, tuple):
            feature, threshold, _, missing_left, *children = here
            left, right = len(drawn), len(drawn) + 1
            drawn += children
            nodes += [{"parents": at}, {"parents": at}]
        else:
            feature, threshold, missing_left, left, right = 0, here, 0, -1, -1
        nodes[at] |= {"split_indices": feature, "split_conditions": float(threshold)}
        nodes[at] |= {"default_left": missing_left, "left_children": left, "right_children": right}
    names = ("parents", "left_children", "right_children", "split_indices")
    zeros = ("base_weights", "loss_changes", "sum_hessian")
    return {
        **{name: [node[name] for node in nodes] for name in names},
        **{name: [node[name] for node in nodes] for name in ("split_conditions", "default_left")},
        **{name: [0.0] * len(nodes) for name in zeros},
        "split_type": [0] * len(nodes),
        **{f"categories{part}": [] for part in ("", "_nodes", "_segments", "_sizes")},
        "id": number,
        "tree_param": param | {"num_nodes": str(len(nodes))},
    }
