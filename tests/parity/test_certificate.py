"""The certificate: it holds for what was compiled, and for nothing that differs by one bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost

from lockstep.compiled_model.certificate import Certificate
from lockstep.compiling.parity import BATCH_SIZES, RowSet, certify, compare
from lockstep.contracts import model_inputs
from lockstep.errors import ModelRefused
from tests.small_model import small_booster, small_compiled, some

ROWS = 100
BOUND = 2e-7


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    margin = np.linspace(-3, 3, ROWS, dtype=np.float32)
    return (1 / (1 + np.exp(-margin))).astype(np.float32), margin


def test_every_compile_ends_in_one():
    compiled = small_compiled()
    found = compiled.certificate
    assert found.digest == compiled.model.digest
    assert set(found.compared) == {
        *("validation", "edge_events", "beyond_contract", "edge_features")
    }
    assert found.compared["validation"].rows == 4_000
    assert found.trees == "compiled"
    assert found.golden_rows == len(compiled.model.manifest.golden.margin) >= 64
    for compared in found.compared.values():
        assert compared.holds
        assert compared.batch_sizes == BATCH_SIZES == (8192, 7, 1)
        assert compared.margins_differ == compared.differ_between_batch_sizes == 0
        assert compared.largest_score_difference <= 2e-7
    assert "0 of 44,000 margins differ" in found.summary()


def test_the_compiled_model_answers_as_the_native_one():
    """Not through the certificate's own code."""
    model, booster = small_compiled().model, small_booster()
    raw = some(slice(40_000, 48_000))
    from lockstep.compiled_model.parts import features_part

    matrix = features_part(model).read(raw)
    native = booster.inplace_predict(matrix, predict_type="margin")
    ours = model.session.run(["margin"], model_inputs(raw, model.input_names))[0]
    assert (native.view(np.int32) == ours.view(np.int32)).all()
    # A DMatrix takes another road through XGBoost.
    through = booster.predict(xgboost.DMatrix(matrix), output_margin=True)
    assert (through.view(np.int32) == ours.view(np.int32)).all()


def test_it_survives_json():
    found = small_compiled().certificate
    assert Certificate.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["digest"] == found.digest
    with pytest.raises(ModelRefused, match="certificate cannot be read"):
        Certificate.from_json(b"{}")


def test_one_margin_one_bit_off(answers):
    score, margin = answers
    other = margin.copy()
    other[17] = np.nextafter(other[17], np.float32(np.inf))
    found = compare(
        RowSet("x", ROWS, answers, lambda part: (score[part], other[part])), score_bound=BOUND
    )
    assert (found.margins_differ, found.scores_beyond_bound) == (1, 0)
    assert not found.holds


def test_negative_zero_is_another_margin():
    zero = np.zeros(1, np.float32)
    found = compare(
        RowSet("x", 1, (zero, zero), lambda part: (zero[part], -zero[part])), score_bound=BOUND
    )
    assert found.margins_differ == 1


@pytest.mark.parametrize(("off", "beyond"), [(1e-7, 0), (3e-7, 1), (np.nan, 1)])
def test_scores_have_a_bound(answers, off, beyond):
    score, margin = answers
    other = score.astype(np.float64)
    other[5] += off
    found = compare(
        RowSet("x", ROWS, answers, lambda part: (other[part].astype(np.float32), margin[part])),
        score_bound=BOUND,
    )
    assert found.scores_beyond_bound == beyond


def test_an_answer_that_depends_on_its_batch(answers):
    score, margin = answers

    def by_size(part: slice) -> tuple[np.ndarray, np.ndarray]:
        last_bit = np.float32(0 if part.stop - part.start == 1 else 6e-8)
        return score[part] + last_bit, margin[part]

    found = compare(RowSet("x", ROWS, answers, by_size), score_bound=BOUND)
    assert found.margins_differ == found.scores_beyond_bound == 0
    assert found.differ_between_batch_sizes > 0
    assert not found.holds


def test_what_differs_gets_none(answers):
    score, margin = answers
    rows = RowSet("validation", ROWS, answers, lambda part: (score[part], margin[part] + 1))
    with pytest.raises(ModelRefused, match=r"no certificate: on validation .* 100 margins differ"):
        certify("0" * 64, "flight_delay", [rows], score_bound=BOUND, golden_rows=1, versions={})


def test_no_code_path_makes_a_model_without_one(monkeypatch):
    """A converter that is one bit off is caught by compile_model itself."""
    from lockstep.estimators.xgboost import forest

    right = forest._base_margin
    monkeypatch.setattr(
        forest,
        "_base_margin",
        lambda learner, objective: np.nextafter(right(learner, objective), np.float32(9)),
    )
    small_compiled.cache_clear()
    try:
        with pytest.raises(ModelRefused, match="no certificate"):
            small_compiled()
    finally:
        small_compiled.cache_clear()
