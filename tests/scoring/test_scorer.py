"""The scorer: one event's answer is its own, whatever comes with it and whoever asks."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.scoring import OnnxScorer, Scorer, Scores
from tests.small_model import small_compiled, some, windowed_compiled, windows, windows_of

FIRST, ROWS = 60_000, 9_000


@pytest.fixture(scope="module")
def scorer() -> OnnxScorer:
    return OnnxScorer(small_compiled().model)


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
@given(st.integers(0, ROWS - 1), st.integers(1, 300))
def test_any_batch(start, size):
    model = OnnxScorer(small_compiled().model)
    everything = model.score(some(slice(FIRST, FIRST + ROWS)))
    rows = slice(start, min(start + size, ROWS))
    part = model.score(some(slice(FIRST + rows.start, FIRST + rows.stop)))
    assert same(part, Scores(*(column[rows] for column in everything)))


def test_any_order(scorer, whole):
    order = np.random.default_rng(0).permutation(ROWS)
    raw = {name: column[order] for name, column in some(slice(FIRST, FIRST + ROWS)).items()}
    assert same(scorer.score(raw), Scores(*(column[order] for column in whole)))


def test_no_events(scorer):
    none = scorer.score(some(slice(0, 0)))
    assert none.score.shape == none.margin.shape == (0,)


def test_several_threads_at_once(scorer, whole):
    def part(start: int) -> bool:
        rows = slice(start, start + 500)
        found = scorer.score(some(slice(FIRST + rows.start, FIRST + rows.stop)))
        return same(found, Scores(*(column[rows] for column in whole)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(part, list(range(0, ROWS, 500)) * 4))


def test_extra_columns_are_no_matter_and_missing_ones_are(scorer, whole):
    raw = some(slice(FIRST, FIRST + ROWS))
    assert same(scorer.score({**raw, "unheard_of": np.zeros(ROWS)}), whole)
    with pytest.raises(KeyError, match="distance"):
        scorer.score({name: column for name, column in raw.items() if name != "distance"})


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


def test_windows_of_another_shape():
    scorer = OnnxScorer(windowed_compiled().model)
    values = windows_of(slice(0, 3))
    with pytest.raises(ValueError, match=r"windows has shape None, not \[n, 8\]"):
        scorer.score(some(slice(0, 3)))
    with pytest.raises(ValueError, match=r"windows has shape \(3, 1\)"):
        scorer.score(some(slice(0, 3)), values[:, :1])
