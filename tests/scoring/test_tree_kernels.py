"""The tree kernels: whatever the ensemble and the rows, every bit is ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.scoring.trees.kernel import Kernel
from lockstep.scoring.trees.layout import Layout, lay_out
from lockstep.scoring.trees.numpy_kernel import NumpyKernel
from lockstep.scoring.trees.reference import reference
from lockstep.scoring.trees.tables import read_trees
from tests.scoring.tree_cases import LEQ, LT, Case, Drawn, cases

KERNELS: list[Callable[[Layout], Kernel]] = [NumpyKernel]
kernels = pytest.mark.parametrize("make", KERNELS, ids=lambda make: make.name)


def kernel(make, drawn: Drawn) -> Kernel:
    return make(lay_out(read_trees(drawn.node), drawn.case.features))


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
    drawn = Drawn(Case(case.seed, case.trees, case.depth, infinite=True))
    matrix = drawn.rows(100)
    assert same(kernel(make, drawn)(matrix), drawn.runtime()(matrix))


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
    evaluate, matrix = kernel(make, drawn), drawn.rows(8_300)
    whole = evaluate(matrix)
    assert same(whole, drawn.runtime()(matrix))
    edges = {
        block * times + off for block in (256, 2048) for times in (1, 2, 3, 4) for off in (-1, 0, 1)
    }
    for rows in (*range(201), *edges, 8_191, 8_192, 8_193):
        start = 5 if rows < 8_000 else 0
        assert same(evaluate(matrix[start : start + rows]), whole[start : start + rows])


@kernels
def test_a_thousand_trees_and_one_column(make):
    drawn = Drawn(Case(3, 1_000, 3, features=1, modes=(LT, LEQ)))
    matrix = drawn.rows(300)
    assert same(kernel(make, drawn)(matrix), drawn.runtime()(matrix))
