"""How many inputs a fuzzer tries at its entrance: some in `make test`, 10,000 in `make long`.

@AMOUNTS
def test_any_bytes_are_taken_or_refused(amount):
    def check(value): ...
    fuzz(amount, check, value=st.binary())
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

__all__ = ["AMOUNTS", "fuzz"]

# A loaded machine takes its time over 10,000; what hangs is found in an hour.
AMOUNTS = pytest.mark.parametrize(
    "amount", [300, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)


def fuzz(amount: int, check: Callable[..., None], **inputs: SearchStrategy[Any]) -> None:
    """Call `check` with `amount` drawn inputs; the first that fails is shrunk and shown."""
    settings(
        max_examples=amount,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(given(**inputs)(check))()
