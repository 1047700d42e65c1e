"""Row features column after column: those that are wanted, and strings asked once a value."""

from __future__ import annotations

from types import SimpleNamespace

import ndonnx as ndx
import numpy as np
import pyarrow as pa
import pytest
import spox
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as op

from lockstep.compiled_model.feature_columns import COLUMNS, cut_feature_columns
from lockstep.errors import ModelRefused
from lockstep.features import lookup, namespace

DAY, OTHER, COUNT = "day", "other", "count"
ROWS = {
    DAY: np.array(["Mon", "", "Tue", "Mon", "?"], object),
    OTHER: np.array(["Mon", "", "Mon", "Tue", "!"], object),
    COUNT: np.array([1.0, np.nan, -0.0, np.inf, 5.0], np.float32),
}
CODES = {"Mon": 1.0, "Tue": 2.0}


def model(*features, arrange=lambda columns: op.concat(columns, axis=1)):
    """A model whose trees read `features`, functions of the event."""
    types = {DAY: ndx.utf8, OTHER: ndx.utf8, COUNT: ndx.float32}
    event = {name: ndx.argument(shape=("N",), dtype=dtype) for name, dtype in types.items()}
    found = [feature(event).unwrap_spox() for feature in features]
    matrix = arrange([op.unsqueeze(value, op.const([1])) for value in found])
    total = ml.tree_ensemble(
        matrix,
        **{"aggregate_function": 1, "n_targets": 1, "leaf_targetids": [0], "tree_roots": [0]},
        **{"nodes_featureids": [0], "nodes_truenodeids": [0], "nodes_falsenodeids": [0]},
        **{"nodes_trueleafs": [1], "nodes_falseleafs": [1]},
        leaf_weights=np.ones(1, np.float32),
        nodes_splits=np.zeros(1, np.float32),
        nodes_modes=np.ones(1, np.uint8),
    )
    arguments = {name: array.unwrap_spox() for name, array in event.items()}
    built = spox.build(arguments, {"total": total}, drop_unused_inputs=True)
    return SimpleNamespace(data=built.SerializeToString())


def codes(event):
    return lookup(event[DAY], CODES, -1.0)


def is_monday(event):
    xp = namespace(event[DAY])
    return xp.astype(event[DAY] == "Mon", xp.float32)


def weekend_or_count(event):
    xp = namespace(event[COUNT])
    return xp.where((event[DAY] == "Tue") | (event[DAY] == "?"), np.float32(7), event[COUNT])


def same_day(event):
    xp = namespace(event[DAY])
    return xp.astype(event[DAY] == event[OTHER], xp.float32)


def count(event):
    return event[COUNT]


def run(session, feed):
    """Output -> values."""
    names = [answer.name for answer in session.get_outputs()]
    reads = {given.name for given in session.get_inputs()}
    found = session.run(names, {name: feed[name] for name in reads})
    return dict(zip(names, found, strict=True))


def columns(cut, feed):
    """What a cut gives row by row."""
    asked = run(cut.questions, feed) if cut.questions else {}
    return run(cut.rest, feed | asked)[COLUMNS]


EXPECTED = {
    codes: [1, -1, 2, 1, -1],
    is_monday: [1, 0, 0, 1, 0],
    weekend_or_count: [1, np.nan, 7, np.inf, 7],
    same_day: [1, 1, 0, 0, 0],
    count: [1, np.nan, -0.0, np.inf, 5],
}


@pytest.mark.parametrize(
    ("features", "questions"),
    [
        ((codes,), {DAY: 1}),
        ((codes, is_monday), {DAY: 2}),
        ((weekend_or_count, count), {DAY: 1}),
        ((lambda event: lookup(event[OTHER], CODES, 0.0), codes), {DAY: 1, OTHER: 1}),
        # Two strings at once are asked row by row, and so is one that is asked alone as well.
        ((same_day,), {}),
        ((same_day, codes), {DAY: 1}),
        ((count,), {}),
    ],
)
def test_what_is_asked_of_one_string_alone_is_asked_once_a_value(features, questions):
    cut = cut_feature_columns(model(*features), range(len(features)))
    assert {field: len(names) for field, names in cut.answers.items()} == questions
    whole = columns(cut, ROWS)
    for column, feature in zip(whole, features, strict=True):
        np.testing.assert_array_equal(column, EXPECTED.get(feature, [1, 0, 1, 2, 0]))
    feed = dict(ROWS)
    for field, names in cut.answers.items():
        encoded = pa.array(ROWS[field]).dictionary_encode()
        values = encoded.dictionary.to_numpy(zero_copy_only=False)
        assert len(values) < len(ROWS[field])
        asked = run(cut.questions, dict.fromkeys(cut.answers, values))
        feed |= {name: asked[name][encoded.indices] for name in names}
    rest = run(cut.rest, feed)[COLUMNS]
    assert (rest.view(np.int32) == whole.view(np.int32)).all()


def test_only_wanted_features_are_computed():
    cut = cut_feature_columns(model(codes, count, same_day, is_monday), [3, 1])
    reads = {given.name for given in (*cut.questions.get_inputs(), *cut.rest.get_inputs())}
    assert reads & set(ROWS) == {DAY, COUNT}
    found = columns(cut, ROWS)
    np.testing.assert_array_equal(found, [EXPECTED[is_monday], EXPECTED[count]])


def test_what_a_branch_reads_is_read():
    """A condition that is always true, whose branch asks of another string."""

    def both(event):
        other = event[OTHER].unwrap_spox()
        monday = op.const(np.array("Mon"))
        (found,) = op.if_(
            op.const(np.array(True)),
            then_branch=lambda: [op.equal(other, monday)],
            else_branch=lambda: [op.equal(other, monday)],
        )
        here = op.and_(op.equal(event[DAY].unwrap_spox(), monday), found)
        return ndx.asarray(op.cast(here, to=np.float32))

    cut = cut_feature_columns(model(both, codes, same_day), [0, 1, 2])
    assert {field: len(names) for field, names in cut.answers.items()} == {DAY: 2}
    expected = [[1, 0, 0, 0, 0], EXPECTED[codes], EXPECTED[same_day]]
    np.testing.assert_array_equal(columns(cut, ROWS), expected)


def test_a_constant_that_adds_an_axis_is_asked_row_by_row():
    def any_of(event):
        table = op.const(np.array([["Mon"], ["?"]]))
        hits = op.cast(op.equal(event[DAY].unwrap_spox(), table), to=np.float32)
        return ndx.asarray(op.reduce_max(hits, op.const([0]), keepdims=0))

    cut = cut_feature_columns(model(any_of, codes), [0, 1])
    assert {field: len(names) for field, names in cut.answers.items()} == {DAY: 1}
    np.testing.assert_array_equal(columns(cut, ROWS), [[1, 0, 0, 1, 1], EXPECTED[codes]])


def test_a_feature_that_depends_on_the_number_of_rows_is_no_question():
    def rows(event):
        shape = op.shape(event[DAY].unwrap_spox())
        many = op.cast(op.expand(shape, shape), to=np.float32)
        return ndx.asarray(many)

    cut = cut_feature_columns(model(rows, codes), [0, 1])
    (question,) = cut.questions.get_outputs()
    assert question.type == "tensor(float)"
    assert columns(cut, ROWS)[0].tolist() == [5] * 5


def test_a_matrix_of_another_make_is_refused():
    made = model(codes, count, arrange=lambda columns: op.identity(op.concat(columns, axis=1)))
    with pytest.raises(ModelRefused, match="not put together from a column for each feature"):
        cut_feature_columns(made, [0])
