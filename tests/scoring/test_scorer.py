"""The scorer: one event's answer is its own, whatever comes with it and whoever asks."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.contracts import encoded_columns
from lockstep.scoring import OnnxScorer, Scorer, Scores, open_scorer
from tests.small_model import (
    departures,
    flights,
    small_compiled,
    some,
    windowed_compiled,
    windows,
    windows_of,
)

FIRST, ROWS = 60_000, 9_000


def departed():
    return flights()[departures().source]


@pytest.fixture(scope="module", params=["onnxruntime", "numpy", "compiled"])
def scorer(request) -> Scorer:
    found = open_scorer(small_compiled().model, request.param)
    assert found.engine.name == request.param
    return found


@pytest.fixture(scope="module")
def whole(scorer) -> Scores:
    return scorer.score(some(slice(FIRST, FIRST + ROWS)))


def same(found: Scores, expected: Scores) -> bool:
    return all(
        (a.view(np.int32) == b.view(np.int32)).all() for a, b in zip(found, expected, strict=True)
    )


def test_shapes_and_types(scorer, whole):
    scorer.warm()
    checked: Scorer = scorer
    assert checked is scorer
    for column in whole:
        assert column.dtype == np.float32
        assert column.shape == (ROWS,)
    assert ((whole.score > 0) & (whole.score < 1)).all()
    assert len(np.unique(whole.margin)) > 500


@settings(deadline=None, max_examples=60)
@given(st.integers(0, ROWS - 1), st.integers(1, 300), st.booleans())
def test_any_batch(scorer, whole, start, size, encoded):
    rows = slice(start, min(start + size, ROWS))
    raw = some(slice(FIRST + rows.start, FIRST + rows.stop))
    if encoded:
        raw = encoded_columns(departures(), departed().slice(FIRST + start, rows.stop - start))
    part = scorer.score(raw)
    assert same(part, Scores(*(column[rows] for column in whole)))


def test_any_order(scorer, whole):
    order = np.random.default_rng(0).permutation(ROWS)
    raw = {name: column[order] for name, column in some(slice(FIRST, FIRST + ROWS)).items()}
    assert same(scorer.score(raw), Scores(*(column[order] for column in whole)))


def test_no_events(scorer):
    none = scorer.score(some(slice(0, 0)))
    assert none.score.shape == none.margin.shape == (0,)


@pytest.mark.parametrize("encoded", [False, True])
def test_several_threads_at_once(scorer, whole, encoded):
    def part(start: int) -> bool:
        rows = slice(start, start + 500)
        raw = some(slice(FIRST + rows.start, FIRST + rows.stop))
        if encoded:
            raw = encoded_columns(departures(), departed().slice(FIRST + start, 500))
        found = scorer.score(raw)
        return same(found, Scores(*(column[rows] for column in whole)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(part, list(range(0, ROWS, 500)) * 4))


def test_extra_columns_are_no_matter_and_missing_ones_are(scorer, whole):
    raw = some(slice(FIRST, FIRST + ROWS))
    assert same(scorer.score({**raw, "unheard_of": np.zeros(ROWS)}), whole)
    for rows in (1, ROWS):
        less = {name: column[:rows] for name, column in raw.items() if name != "distance"}
        with pytest.raises(KeyError, match="distance"):
            scorer.score(less)


@pytest.mark.parametrize("name", ["origin", "distance"])
@pytest.mark.parametrize("encoded", [False, True])
def test_columns_of_different_lengths(scorer, name, encoded):
    raw = some(slice(FIRST, FIRST + ROWS))
    if encoded:
        raw = encoded_columns(departures(), departed().slice(FIRST, ROWS))
    for rows in (3, ROWS):
        part = {each: column[:rows] for each, column in raw.items()}
        with pytest.raises(ValueError, match=f"different numbers of rows: .*{name} 1"):
            scorer.score({**part, name: part[name][:1]})


@pytest.mark.parametrize("rows", [4, 200, ROWS])
def test_some_strings_encoded_and_others_not(scorer, whole, rows):
    raw = some(slice(FIRST, FIRST + rows))
    encoded = encoded_columns(departures(), departed().slice(FIRST, ROWS))
    found = scorer.score({**raw, "dest": encoded["dest"][:rows]})
    assert same(found, Scores(*(column[:rows] for column in whole)))


class _Recorder:
    """Stands where a session stands, and keeps what it is given."""

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        self.feed = feed
        return [feed[name] for name in windows().names[:2]]


def test_windows_are_fed_by_name_in_the_order_of_the_manifest():
    session = _Recorder()
    scorer = OnnxScorer(dataclasses.replace(windowed_compiled().model, session=session))
    values = windows_of(slice(9_000, 9_003))
    found = scorer.score(some(slice(9_000, 9_003)), values)
    np.testing.assert_array_equal(found.score, values[:, 0])
    np.testing.assert_array_equal(found.margin, values[:, 1])
    assert session.feed[windows().names[1]].flags.c_contiguous


@pytest.mark.parametrize("engine", ["onnxruntime", "numpy", "compiled"])
@pytest.mark.parametrize("rows", [3, 2_000])
def test_windows_of_another_shape(engine, rows):
    scorer = open_scorer(windowed_compiled().model, engine)
    events, values = some(slice(0, rows)), windows_of(slice(0, rows))
    with pytest.raises(ValueError, match=r"windows has shape None, not \[n, 8\]"):
        scorer.score(events)
    with pytest.raises(ValueError, match=rf"windows has shape \({rows}, 1\)"):
        scorer.score(events, values[:, :1])
    with pytest.raises(ValueError, match=r"different numbers of rows: .*windows 2$"):
        scorer.score(events, values[:2])
