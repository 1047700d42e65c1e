"""A feature is a number for each event; what is none is said with what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from lockstep.compiling import trace
from lockstep.errors import UsageError
from lockstep.features import Event, lookup, namespace
from tests.small_model import departures, some


def feature(event: Event, make: Callable[[Event, Any], Any]) -> Mapping[str, Any]:
    return {"distance": event["distance"], "made": make(event, namespace(event["distance"]))}


@pytest.mark.parametrize(
    ("make", "said", "fix"),
    [
        (lambda event, xp: event["carrier"], "'made' is an array of strings", "lookup("),
        (
            lambda event, xp: xp.astype(event["carrier"], xp.float32),
            "'made' reads a string as a number",
            "lookup(",
        ),
        (
            lambda event, xp: xp.astype(xp.astype(event["dest"], xp.int64), xp.float32) + 1,
            "'made' reads a string as a number",
            "lookup(",
        ),
        (lambda event, xp: event["flight"], "'made' is int64 of 1 dimensions", "xp.astype("),
        (lambda event, xp: 3.0, "'made' is float that is not made of the event", "namespace("),
        (
            lambda event, xp: np.zeros(3, np.float32),
            "'made' is ndarray that is not made of the event",
            "namespace(",
        ),
        (
            lambda event, xp: xp.reshape(event["distance"], (-1, 1)),
            "'made' is float32 of 2 dimensions",
            "xp.reshape(",
        ),
    ],
)
def test_what_is_no_number_is_refused_with_what_makes_one(
    make: Callable[[Event, Any], Any], said: str, fix: str
) -> None:
    with pytest.raises(UsageError) as refused:
        trace(lambda event, fitted: feature(event, make), {}, departures())
    assert said in refused.value.message
    assert fix in str(refused.value.next)


def test_the_advice_for_strings_gives_features() -> None:
    traced = trace(
        lambda event, fitted: feature(event, lambda e, xp: lookup(e["carrier"], {"AA": 0.0}, -1.0)),
        {},
        departures(),
    )
    made = traced.reader().read(some(slice(0, 200)))[:, 1]
    carriers = some(slice(0, 200))["carrier"]
    assert made.tolist() == [0.0 if carrier == "AA" else -1.0 for carrier in carriers]
