"""Whatever lies in a model file that somebody brings is opened, or refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators.known import recognised
from tests.estimators.test_xgboost_forest import booster
from tests.fuzz.amount import AMOUNTS, fuzz

NAMES = list("abcde")
SOME = 4
"""Each input is read by a process of its own: fewer of them."""


@AMOUNTS
@pytest.mark.parametrize("format", ["ubj", "json"])
def test_any_file_is_opened_or_refused(amount: int, format: str) -> None:
    native = booster(trees=2, max_depth=2)
    native.feature_names = NAMES
    whole = bytes(native.save_raw(format))

    def refusal(data: bytes) -> str | None:
        try:
            found = recognised(data, "model")
        except (ModelRefused, UsageError) as refused:
            return refused.message
        matrix = np.zeros((2, len(found.cuts())), np.float32)
        assert len(found.answers(matrix)[1]) == 2
        try:
            found.require_features(NAMES)
        except UsageError as refused:
            return refused.message
        return None

    def check(at: int, taken: int, put: bytes) -> None:
        said = refusal(whole[:at] + put + whole[at + taken :])
        assert said is None or (said and said.isprintable())

    fuzz(
        max(amount // SOME, 1),
        check,
        at=st.integers(0, len(whole)),
        taken=st.integers(0, 4),
        put=st.binary(max_size=3),
    )
