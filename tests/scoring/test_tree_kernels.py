"""The tree kernels: whatever the ensemble and the rows, every bit is ONNX Runtime's."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import numpy as np
import pytest
import spox
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_attribute
from onnx.numpy_helper import from_array
from sklearn.ensemble import RandomForestRegressor

from lockstep.compiled_model.parts import ENSEMBLE
from lockstep.compiling.edges import edge_matrix
from lockstep.estimators.xgboost.forest import read_forest
from lockstep.estimators.xgboost.graph import margin_and_score
from lockstep.estimators.xgboost.native import XGBoostModel
from lockstep.scoring.trees import compiled_kernel
from lockstep.scoring.trees.compiled_kernel import CompiledKernel, Processor
from lockstep.scoring.trees.kernel import Kernel
from lockstep.scoring.trees.layout import Layout, lay_out
from lockstep.scoring.trees.llvm_code import write_code
from lockstep.scoring.trees.numpy_kernel import NumpyKernel
from lockstep.scoring.trees.reference import reference
from lockstep.scoring.trees.tables import NotForKernels, read_trees
from tests.scoring.tree_cases import LEQ, LT, Case, Drawn, cases

KERNELS: dict[str, Callable[[Layout], Kernel]] = {
    "numpy": NumpyKernel,
    "compiled": CompiledKernel,
    # Without registers that leaves could be looked up in; every processor of its kind runs this.
    "portable": lambda layout: CompiledKernel(layout, Processor("generic", "")),
}
kernels = pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)


def kernel(make, drawn: Drawn) -> Callable[[np.ndarray], np.ndarray]:
    """matrix -> what the kernel answers."""
    layout = lay_out(read_trees(drawn.node), drawn.case.features)
    evaluate = make(layout)
    return lambda matrix: evaluate(layout.columns_of(matrix))


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    return bool((found.view(np.int32) == expected.view(np.int32)).all())


@kernels
@settings(deadline=None, max_examples=150)
@given(cases, st.integers(1, 140))
def test_any_ensemble_and_any_rows(make, case, rows):
    drawn = Drawn(case)
    matrix = drawn.rows(rows)
    expected = drawn.runtime()(matrix)
    assert same(reference(read_trees(drawn.node), matrix), expected)
    assert same(kernel(make, drawn)(matrix), expected)


@kernels
@settings(deadline=None, max_examples=40)
@given(st.builds(Case, st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(0, 8)))
def test_infinite_thresholds(make, case):
    drawn = Drawn(Case(case.seed, case.trees, case.depth, modes=(LT, LEQ), infinite=True))
    matrix = drawn.rows(100)
    expected = drawn.runtime()(matrix)
    assert same(reference(read_trees(drawn.node), matrix), expected)
    assert same(kernel(make, drawn)(matrix), expected)


@kernels
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 5]), st.integers(1, 6), st.integers(0, 8))
def test_xgboost_answers_the_same(make, seed, targets, rounds, depth):
    drawn = Drawn(Case(seed, targets * rounds, depth, targets=targets))
    matrix = drawn.rows(150)
    native = drawn.booster().inplace_predict(matrix, predict_type="margin", missing=np.nan)
    assert same(kernel(make, drawn)(matrix), native.reshape(len(matrix), targets))


@kernels
@pytest.mark.parametrize("targets", [1, 3])
def test_every_batch_size(make, targets):
    drawn = Drawn(Case(7, 30, 5, features=6, targets=targets))
    evaluate, matrix = kernel(make, drawn), drawn.rows(12_300)
    whole = evaluate(matrix)
    assert same(whole, drawn.runtime()(matrix))
    edges = {
        block * times + off
        for block in (128, 256, 2048, 4096)
        for times in (1, 2, 3)
        for off in (-1, 0, 1)
    }
    for rows in (*range(201), *edges, 8_191, 8_193):
        start = 5 if rows < 12_000 else 0
        assert same(evaluate(matrix[start : start + rows]), whole[start : start + rows])


@kernels
def test_a_thousand_trees_and_one_column(make):
    drawn = Drawn(Case(3, 1_000, 3, features=1, modes=(LT, LEQ)))
    matrix = drawn.rows(300)
    assert same(kernel(make, drawn)(matrix), drawn.runtime()(matrix))


@kernels
def test_columns_that_are_none(make):
    drawn = Drawn(Case(5, 2, 2, features=3, stop=0.0))
    layout = lay_out(read_trees(drawn.node), 3)
    evaluate, columns = make(layout), layout.columns_of(drawn.rows(10))
    assert len(columns) == 3
    for wrong in (columns[:2], columns.astype(np.float64), columns[:, ::2], columns[0]):
        with pytest.raises(ValueError, match=r"the kernel reads contiguous float32\[3, n\]"):
            evaluate(wrong)


@kernels
def test_columns_that_no_tree_asks_for_are_not_read(make):
    drawn = Drawn(Case(6, 2, 1, features=9, stop=0.0))
    layout = lay_out(read_trees(drawn.node), 9)
    assert layout.reads.tolist() == sorted({tree[0] for tree in drawn.trees})
    assert len(layout.reads) < 9
    matrix = drawn.rows(70)
    assert same(make(layout)(layout.columns_of(matrix)), drawn.runtime()(matrix))


@kernels
def test_several_threads_at_once(make):
    drawn = Drawn(Case(11, 40, 6, features=5))
    evaluate, matrix = kernel(make, drawn), drawn.rows(4_000)
    whole = evaluate(matrix)
    parts = [slice(start, start + 333) for start in range(0, 4_000, 333)] * 6
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda rows: same(evaluate(matrix[rows]), whole[rows]), parts))


@kernels
def test_a_forked_process_has_it_too(make):
    drawn = Drawn(Case(13, 20, 6))
    evaluate, matrix = kernel(make, drawn), drawn.rows(500)
    whole = evaluate(matrix)
    child = os.fork()
    if child == 0:
        os._exit(0 if same(evaluate(matrix), whole) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_process_that_is_forked_while_another_thread_compiles(monkeypatch):
    drawn = Drawn(Case(13, 20, 6))
    layout, matrix = lay_out(read_trees(drawn.node), 4), drawn.rows(500)
    expected = drawn.runtime()(matrix)
    with compiled_kernel._Compiling.lock:
        child = os.fork()
        if child == 0:
            found = CompiledKernel(layout)(layout.columns_of(matrix))
            os._exit(0 if same(found, expected) else 1)
        assert os.waitpid(child, 0)[1] == 0


@kernels
@pytest.mark.parametrize("targets", [12, 40])
def test_many_classes(make, targets):
    drawn = Drawn(Case(21, 3 * targets, 4, targets=targets))
    matrix = drawn.rows(300)
    native = drawn.booster().inplace_predict(matrix, predict_type="margin", missing=np.nan)
    assert same(kernel(make, drawn)(matrix), native.reshape(len(matrix), targets))


@kernels
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.booleans())
def test_leaves_as_small_as_floats_get(make, seed, trees, average):
    """Sums that vanish when they are divided, and zeros of both signs."""
    drawn = Drawn(Case(seed, trees, 3, average=average, small=True))
    matrix = drawn.rows(64)
    expected = drawn.runtime()(matrix)
    assert same(reference(read_trees(drawn.node), matrix), expected)
    assert same(kernel(make, drawn)(matrix), expected)


@pytest.mark.parametrize(
    ("triple", "cpu"),
    [("aarch64-unknown-linux-gnu", "generic"), ("arm64-apple-macosx13", "apple-m1")],
)
def test_it_compiles_for_processors_that_are_not_here(triple, cpu):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu)
    for depth in range(1, 9):
        module = llvm.parse_assembly(write_code(depth, permute=False), llvm.create_context())
        module.verify()
        assert machine.emit_object(module)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"nodes_splits": np.array([0.5])}, "splits are float64"),
        ({"nodes_modes": np.array([3], np.uint8)}, "other comparisons"),
        ({"post_transform": 1}, "transforms its sums"),
        ({"aggregate_function": 2}, "least or the greatest"),
        ({"nodes_splits": np.array([np.nan], np.float32)}, "threshold that is NaN"),
        ({"nodes_truenodeids": [5]}, "nodes or leaves that it does not have"),
        ({"nodes_featureids": [4]}, "other columns than the 4"),
        ({"leaf_targetids": [0, 7]}, "several outputs, or to none"),
        ({"nodes_truenodeids": [0], "nodes_trueleafs": [0]}, "more than 8 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stays_with_onnx_runtime(attributes, why):
    node = Drawn(Case(0, 1, 1)).node
    for name, value in attributes.items():
        (old,) = [found for found in node.attribute if found.name == name] or [None]
        if old is not None:
            node.attribute.remove(old)
        tensor = from_array(value) if isinstance(value, np.ndarray) else value
        node.attribute.append(make_attribute(name, tensor))
    with pytest.raises(NotForKernels, match=why):
        lay_out(read_trees(node), 4)


def test_trees_that_are_too_deep():
    drawn = Drawn(Case(0, 3, 9, stop=0.0))
    with pytest.raises(NotForKernels, match="more than 8 levels"):
        lay_out(read_trees(drawn.node), 4)


@kernels
@pytest.mark.parametrize(
    "parameters",
    [
        {"max_depth": 8},
        {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 8},
        {"max_depth": 5, "num_parallel_tree": 3, "subsample": 0.6},
        {"objective": "reg:squarederror", "gamma": 5, "learning_rate": 1.0},
        {"max_depth": 1, "tree_method": "exact"},
    ],
    ids=str,
)
def test_boosters_as_they_are_trained(make, parameters):
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(2_000, 6)).astype(np.float32)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    label = np.nan_to_num(rows[:, 0] * rows[:, 1]) > 0
    settings = {"objective": "binary:logistic", "nthread": 1, **parameters}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, label=label, nthread=1), 30)
    forest = read_forest(booster)
    matrix = spox.argument(spox.Tensor(np.float32, ("N", forest.features)))
    graph = spox.build({"matrix": matrix}, {"margin": margin_and_score(matrix, forest)[0]})
    (node,) = (node for node in graph.graph.node if node.op_type == ENSEMBLE)
    layout = lay_out(read_trees(node), forest.features)
    evaluate = make(layout)
    tested = np.concatenate([rows, edge_matrix(XGBoostModel(booster).cuts(), 2_000)])
    native = booster.inplace_predict(tested, predict_type="margin", missing=np.nan)
    assert same(evaluate(layout.columns_of(tested))[:, 0], native)


@kernels
def test_a_forest_of_scikit_learn(make):
    """Averages, and x <= threshold in float64, which float32 rows see rounded down."""
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(1_500, 5)).astype(np.float32)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    label = np.nan_to_num(rows[:, 0]) * 3 + np.isnan(rows[:, 1])
    native = RandomForestRegressor(20, max_depth=8, random_state=0).fit(rows, label)
    drawn = Drawn(Case(0, 1, 0, features=5, average=True))
    drawn.trees = [_sklearn_tree(estimator.tree_, 0) for estimator in native.estimators_]
    drawn.node = drawn.as_node()
    found = kernel(make, drawn)(rows)
    assert same(found, drawn.runtime()(rows))
    np.testing.assert_allclose(found[:, 0], native.predict(rows), rtol=1e-5, atol=1e-6)


def _sklearn_tree(tree, at):
    if tree.children_left[at] == -1:
        return np.float32(tree.value[at, 0, 0])
    threshold = np.float32(tree.threshold[at])
    if threshold > tree.threshold[at]:
        threshold = np.nextafter(threshold, np.float32(-np.inf))
    sides = (tree.children_left[at], tree.children_right[at])
    missing_left = int(tree.missing_go_to_left[at])
    children = (_sklearn_tree(tree, side) for side in sides)
    return (int(tree.feature[at]), threshold, LEQ, missing_left, *children)
