"""Stopping early looks at the end of the training period, and never at the test period."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
import xgboost

from lockstep.errors import UsageError
from lockstep.estimators import XGBoost
from lockstep.registry.locate import Located
from lockstep.settings import Settings
from lockstep.training import Definition, Period
from lockstep.training import train as training
from lockstep.training.labels import require_labels
from lockstep.training.verification import verify
from tests.small_model import REPOSITORY, arrivals, departures
from tests.training.test_learnable import SMALL, fitted, nothing_is_trained, trained
from tests.training.test_weights import FAR_AND_LATE, planned, read

__all__ = ["nothing_is_trained"]

EAGER = {**SMALL.estimator.parameters, "learning_rate": 0.9, "min_child_weight": 1}
DAY = timedelta(days=1)
STOPPING = dataclasses.replace(SMALL, estimator=XGBoost(EAGER, 100, stop_after=3), held_out=DAY)


def days_of(columns: Any) -> set[date]:
    days = columns["departed_at"].astype("datetime64[us]").astype("datetime64[D]")
    return set(np.unique(days).tolist())


SEEN: list[set[date]] = []
"""The days of the rows that `fit` of features.py was given."""


@pytest.fixture(scope="module")
def stopped(tiny) -> training.Trained:
    def fit(columns):
        SEEN.append(days_of(columns))
        return SMALL.fit(columns)

    return trained(tiny, dataclasses.replace(STOPPING, fit=fit))


def test_only_the_best_trees_go_into_the_file_and_the_native_model_beside_it(stopped):
    model = stopped.compiled.model
    kept = model.manifest.estimator.trees
    assert 0 < kept < 97
    native = xgboost.Booster(model_file=bytearray(stopped.native.data))
    assert native.num_boosted_rounds() == kept
    assert model.manifest.training.parameters["trees"] == 100
    assert model.manifest.training.parameters["stop_after"] == 3
    about, held = model.manifest.training, stopped.held
    assert (about.trained_from, about.trained_until) == ("2013-01-02", "2013-01-04")
    assert stopped.held_out is not None
    assert held["held_out"] == len(stopped.held_out) > 0
    assert held["between"] > 500
    assert about.parameters["held_out"] == (
        f"2013-01-05 until 2013-01-06: {held['held_out']:,} events; not learned from before it:"
        f" {held['between']:,}"
    )


def test_certificate_and_verify_agree(tiny, stopped, tmp_path):
    compiled = stopped.compiled
    found = Located(
        "stopped",
        compiled.model.data,
        compiled.model.digest,
        compiled.certificate.to_json().encode(),
        stopped.native.data,
    )
    verified = verify(Settings(home=tmp_path, lake=tiny.lake), found)
    assert verified.certificate is not None
    for certificate in (verified.certificate, compiled.certificate):
        assert all(found.margins_differ == 0 for found in certificate.compared.values())
    assert verified.recorded_events >= len(stopped.test_rows)


def test_nothing_is_learned_from_held_out_days_nor_from_labels_that_come_in_them(stopped):
    """Learned are 2 and 3 January; the labels of the 4th become known on the 5th, held out."""
    assert [{date(2013, 1, 2), date(2013, 1, 3)}] == SEEN
    assert days_of(stopped.rows.columns) == SEEN[0]
    assert stopped.held_out is not None
    assert days_of(stopped.held_out.columns) == {date(2013, 1, 5)}
    assert days_of(stopped.test_rows.columns) == {date(2013, 1, 8), date(2013, 1, 9)}
    assert stopped.compiled.model.manifest.training.rows == len(stopped.rows)
    assert STOPPING.learned == Period(date(2013, 1, 2), date(2013, 1, 4))


def turned(day: int) -> Definition:
    """The opposite labels where the outcome became known on that day of January or later."""
    from_then = np.datetime64(f"2013-01-{day:02}", "us").astype(np.int64)

    def of(outcomes):
        return (outcomes["arr_delay"] > 15) ^ (outcomes["arrived_at"] >= from_then)

    fields = ("arr_delay", "arrived_at")
    return dataclasses.replace(
        STOPPING, label=dataclasses.replace(STOPPING.label, fields=fields, of=of)
    )


def test_other_labels_in_the_test_period_make_no_other_model(tiny, stopped):
    """The control: in the held-out days they do."""
    assert fitted(tiny, turned(8)).native.file() == stopped.native
    assert fitted(tiny, turned(5)).native.file() != stopped.native


def test_held_out_days_are_part_of_what_a_training_is(tiny, monkeypatch):
    longer = dataclasses.replace(STOPPING, train=Period(date(2013, 1, 2), date(2013, 1, 7)))
    two = dataclasses.replace(longer, held_out=2 * DAY)
    assert (
        planned(tiny, monkeypatch, longer).fingerprint
        != planned(tiny, monkeypatch, two).fingerprint
    )


def test_weights_are_held_out_with_their_rows(tiny, stopped):
    found = fitted(tiny, dataclasses.replace(STOPPING, weight=FAR_AND_LATE))
    for examples, rows in ((found.examples, stopped.rows), (found.held_out, stopped.held_out)):
        assert examples is not None
        assert examples.weight is not None
        assert rows is not None
        # Miles, and minutes that are never below 0.
        np.testing.assert_array_less(rows.columns["distance"] - 1, examples.weight)


@pytest.mark.usefixtures("nothing_is_trained")
def test_held_out_days_that_say_nothing_are_refused(tiny, monkeypatch):
    monkeypatch.chdir(REPOSITORY)

    def early(outcomes):
        """0 in the held-out day, and what it is in all others."""
        from_then, until = (
            np.datetime64(f"2013-01-{day:02}", "us").astype(np.int64) for day in (5, 7)
        )
        held_out = (outcomes["arrived_at"] >= from_then) & (outcomes["arrived_at"] < until)
        return np.where(held_out, 0.0, outcomes["arr_delay"] > 15)

    label = dataclasses.replace(SMALL.label, fields=("arr_delay", "arrived_at"), of=early)
    with pytest.raises(UsageError, match="every label of the held-out period"):
        trained(tiny, dataclasses.replace(STOPPING, label=label))


def test_a_part_of_a_period_does_not_tell_what_was_left_out_of_the_whole(tiny):
    some = read(tiny, None)
    none = some.within(departures(), Period(date(2012, 1, 1), date(2012, 1, 2)))
    for learned, held_out in ((none, some), (some, none)):
        with pytest.raises(UsageError) as refused:
            require_labels(STOPPING, departures(), arrivals(), learned, some, held_out)
        assert refused.value.message.endswith("has no event with a known outcome")
    with pytest.raises(UsageError, match=r"has no event with a known outcome \(0 without\)"):
        require_labels(STOPPING, departures(), arrivals(), some, none, some)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"held_out": None}, "held_out of the Definition is None, not a time, and XGBoost is to"),
        ({"estimator": SMALL.estimator}, "held_out .* not None, and XGBoost does not stop early"),
        ({"held_out": timedelta(hours=36)}, "held_out .* not a time of whole days"),
        ({"held_out": timedelta()}, "held_out .* not a time of whole days"),
        ({"held_out": -DAY}, "held_out .* not a time of whole days"),
        ({"held_out": 30}, "held_out of the Definition is 30, not a time of whole days"),
        (
            {"held_out": 3 * DAY},
            "the training period has 4 days, of which 3 are held out and 1 lie between",
        ),
    ],
)
def test_held_out_days_of_wrong_types(changes, said):
    with pytest.raises(UsageError, match=said) as refused:
        dataclasses.replace(STOPPING, **changes)
    assert refused.value.next
    assert isinstance(dataclasses.replace(STOPPING, held_out=2 * DAY), Definition)


def test_control_what_was_not_stopped_has_all_of_its_trees(tiny):
    whole = dataclasses.replace(SMALL, estimator=XGBoost(EAGER, 100))
    found = fitted(tiny, whole)
    assert found.native.about.trees == 100
    assert found.held_out is None
