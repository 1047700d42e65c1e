"""Metrics against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.training.metrics import auc, log_loss, measure

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9])), min_size=2)


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_order(rows):
    label, score = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, positive in zip(score, label, strict=True)
        if positive
        for low, other in zip(score, label, strict=True)
        if not other
    ]
    found = auc(label, score)
    assert math.isnan(found) if not pairs else found == pytest.approx(sum(pairs) / len(pairs))


def test_log_loss():
    label, score = np.array([1, 0], np.float32), np.array([0.8, 0.4], np.float32)
    assert log_loss(label, score) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert math.isfinite(log_loss(label, np.array([0, 1], np.float32)))


def test_a_regression_has_other_metrics():
    label = np.array([1, 2], np.float32)
    assert measure("number", label, label + 1) == {"rmse": 1.0, "mae": 1.0}
    assert set(measure("probability", label - 1, label / 3)) == {"auc", "log_loss"}
