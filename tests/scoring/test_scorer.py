"""The scorer: one event's answer is its own, whatever comes with it and whoever asks."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.compiled_model import CompiledModel
from lockstep.features.windows import WindowSpec
from lockstep.scoring import OnnxScorer, Scorer, Scores
from tests.small_model import small_compiled, some

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
    """Stands where a session with window inputs will: this release compiles none."""

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        self.feed = feed
        return [feed["a_1h"], feed["b_3h"]]


def test_windows_are_fed_by_name_in_the_order_of_the_manifest():
    model, session = small_compiled().model, _Recorder()
    windows = tuple(WindowSpec(n, "s", ("k",), "count", 60, 60) for n in ("a_1h", "b_3h"))
    manifest = msgspec.structs.replace(model.manifest, windows=windows)
    made: CompiledModel = dataclasses.replace(model, manifest=manifest, session=session)
    scorer = OnnxScorer(made)
    values = np.array([[1, 2], [3, np.nan], [5, 6]], np.float32)
    found = scorer.score(some(slice(0, 3)), values)
    assert found.score.tolist() == [1, 3, 5]
    assert session.feed["b_3h"].flags.c_contiguous
    with pytest.raises(ValueError, match=r"windows has shape None, not \[n, 2\]"):
        scorer.score(some(slice(0, 3)))
    with pytest.raises(ValueError, match=r"windows has shape \(3, 1\)"):
        scorer.score(some(slice(0, 3)), values[:, :1])
