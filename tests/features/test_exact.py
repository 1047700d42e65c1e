"""The helpers of row features: eager and traced, the same bits."""

from __future__ import annotations

import ndonnx as ndx
import numpy as np
import onnxruntime as ort
import pytest
import spox
from hypothesis import given
from hypothesis import strategies as st

from lockstep.features import floor_divide, lookup

INT64 = st.integers(-(2**53), 2**53)


def traced(function, dtype, *arguments):
    """Run `function` through a graph."""
    given = ndx.argument(shape=("N",), dtype=dtype)
    model = spox.build({"x": given.unwrap_spox()}, {"y": function(given, *arguments).unwrap_spox()})
    session = ort.InferenceSession(model.SerializeToString())
    return lambda values: session.run(["y"], {"x": values})[0]


@pytest.mark.parametrize("by", [1, 7, 60_000_000, 86_400_000_000])
def test_floor_divide(by):
    graph = traced(floor_divide, ndx.int64, by)

    @given(st.lists(INT64, min_size=1, max_size=20))
    def same(values):
        column = np.array(values, np.int64)
        expected = [value // by for value in values]
        assert floor_divide(column, by).tolist() == expected
        assert graph(column).tolist() == expected

    same()


@pytest.mark.parametrize("by", [0, -1])
def test_floor_divide_needs_a_positive_divisor(by):
    with pytest.raises(ValueError, match=f"by is {by}"):
        floor_divide(np.array([1]), by)


def test_lookup():
    codes = {"AA": 0.0, "UA": 1.0, "\u00e9": 0.1}
    column = np.array(["UA", "", "\u00e9", "aa", "AA ", "AA"], object)
    expected = np.array([1, -1, 0.1, -1, -1, 0], np.float32)
    eager = lookup(column, codes, -1.0)
    assert eager.dtype == np.float32
    np.testing.assert_array_equal(eager, expected)
    np.testing.assert_array_equal(traced(lookup, ndx.utf8, codes, -1.0)(column), expected)


def test_lookup_without_codes():
    column = np.array(["UA", ""], object)
    assert lookup(column, {}, -1.0).tolist() == [-1, -1]
    assert traced(lookup, ndx.utf8, {}, -1.0)(column).tolist() == [-1, -1]


def test_no_rows():
    assert lookup(np.array([], object), {"a": 1.0}, 0.0).dtype == np.float32
    assert len(floor_divide(np.array([], np.int64), 5)) == 0
