"""Whatever somebody declares as parameters is tried and taken, or refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from lockstep.errors import UsageError
from lockstep.estimators import XGBoost
from tests.fuzz.amount import AMOUNTS, fuzz

# Not how many trees grow side by side: a million of them is a parameter, and takes its time.
NAMES = (
    *("objective", "eta", "learning_rate", "max_depth", "max_leaves", "tree_method", "booster"),
    *("subsample", "colsample_bytree", "gamma", "lambda", "alpha", "base_score", "seed", "max_bin"),
    *("monotone_constraints", "interaction_constraints", "scale_pos_weight", "eval_metric"),
    *("missing", "early_stopping_rounds", "n_estimators", "num_class", "nthread", "verbosity"),
    *("grow_policy", "sampling_method", "device", "multi_strategy", "validate_parameters"),
)
SMALL = st.integers(-3, 40)
PLAIN = (
    st.none()
    | st.booleans()
    | SMALL
    | st.floats(width=32)
    | st.text(max_size=12)
    | st.sampled_from(["binary:logistic", "reg:squarederror", "hist", "exact", "(1,-1)", "cpu"])
)
VALUES = (
    PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=3), PLAIN, max_size=2)
)


@AMOUNTS
@pytest.mark.filterwarnings("error")
def test_any_parameters_are_taken_or_refused(amount: int) -> None:
    def refusal(drawn: dict[str, Any]) -> UsageError | None:
        try:
            estimator = XGBoost(drawn, trees=2)
            estimator.require()
            estimator.require(["a", "b"])
        except UsageError as refused:
            return refused
        return None

    def check(drawn: dict[str, Any]) -> None:
        if refused := refusal(drawn):
            assert refused.next
            assert len(refused.message) < 1_000
            assert "Stack trace" not in refused.message

    names = st.sampled_from(NAMES) | st.text(max_size=12)
    fuzz(
        amount,
        check,
        drawn=st.dictionaries(names, VALUES, max_size=4).map(
            lambda some: {"objective": "binary:logistic", **some}
        ),
    )
