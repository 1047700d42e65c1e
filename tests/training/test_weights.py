"""Rows weigh what the use case says of them, or the training is refused with row and value."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lockstep.errors import UsageError
from lockstep.lake import days, read_partition
from lockstep.progress import Silent
from lockstep.settings import Settings
from lockstep.training import Weight
from lockstep.training import train as training
from lockstep.training.dataset import read_rows
from lockstep.training.train import Plan, make_plan
from lockstep.windows.semantics import NO_WINDOWS
from tests.small_model import REPOSITORY, arrivals, departures
from tests.training.test_learnable import SMALL, fitted, nothing_is_trained, trained

__all__ = ["nothing_is_trained"]

FAR_AND_LATE = Weight(
    of=lambda events, outcomes: events["distance"] + abs(outcomes["arr_delay"]),
    events=("distance",),
    outcomes=("arr_delay",),
    meaning="miles and minutes",
)


def weighing(of: Any, **more: Any) -> Any:
    return dataclasses.replace(SMALL, weight=dataclasses.replace(FAR_AND_LATE, of=of, **more))


def read(tiny, weight: Weight | None, **changes: Any):
    definition = dataclasses.replace(SMALL, **changes)
    return read_rows(
        *(tiny.lake, departures(), arrivals(), definition.label, definition.train, Silent()),
        weight=weight,
    )


def test_each_row_weighs_what_its_own_event_and_outcome_say(tiny):
    rows = read(tiny, FAR_AND_LATE)
    late: dict[str, float] = {}
    for day in days(tiny.lake, arrivals().source):
        table = read_partition(tiny.lake, arrivals(), day)
        late |= dict(zip(*(table[n].to_pylist() for n in ("event_id", "arr_delay")), strict=True))
    expected = [
        far + abs(late[id])
        for id, far in zip(rows.columns["event_id"], rows.columns["distance"], strict=True)
    ]
    assert rows.weight is not None
    assert rows.weight.dtype == np.float32
    assert rows.weight.tolist() == expected
    assert len(set(expected)) > 100


def test_it_gets_the_fields_that_it_names_and_no_others(tiny):
    seen = {}

    def of(events, outcomes):
        seen.update(events=set(events), outcomes=set(outcomes), rows=len(events["seats"]))
        return np.ones(len(events["seats"]))

    rows = read(tiny, Weight(of=of, meaning="one", events=("seats", "carrier")))
    assert seen == {"events": {"seats", "carrier"}, "outcomes": set(), "rows": len(rows)}


def test_a_row_without_a_label_needs_no_weight(tiny):
    def known(outcomes):
        return np.where(outcomes["arr_delay"] > 0, outcomes["arr_delay"] > 15, np.nan)

    label = dataclasses.replace(SMALL.label, of=known)
    rows = read(tiny, FAR_AND_LATE, label=label)
    assert rows.weight is not None
    assert len(rows.weight) == len(rows) < len(read(tiny, None))


WRONG = {
    "negative": (
        lambda e, o: o["arr_delay"],
        r"the weight 'miles and minutes' of event '\S+' is -\d+, and a weight is a finite number"
        r" of at least 0 \([\d,]+ of [\d,]+ events\)",
    ),
    "NaN": (lambda e, o: np.sqrt(o["arr_delay"]), r"of event '\S+' is nan, and a weight is"),
    "infinite": (
        lambda e, o: 1 / np.maximum(o["arr_delay"], 0),
        r"of event '\S+' is inf, and a weight is",
    ),
    "beyond float32": (lambda e, o: e["distance"] * 1e38, r"of event '\S+' is inf, and a weight"),
    "all zero": (
        lambda e, o: e["distance"] * 0,
        "every event of the training period, from 2013-01-02 until 2013-01-06, weighs 0",
    ),
    "of one class only": (
        lambda e, o: o["arr_delay"] > 15,
        r"every label of the training period, .* is 1: .* events that weigh more than 0",
    ),
    "beyond float32 in all": (
        lambda e, o: np.full(len(e["distance"]), 1e35),
        r"the weights 'miles and minutes' of [\d,]+ events add up to more than float32 has",
    ),
    "one for all": (lambda e, o: 1.0, "the weight's `of` returns a float, not a NumPy array"),
    "of another length": (lambda e, o: e["distance"][1:], r"returns float64 of the shape \(\d+,\)"),
    "of text": (lambda e, o: np.full(len(e["distance"]), "1"), "returns <U1 of the shape"),
    "that raises": (
        lambda e, o: e["seats"],
        r"the weight's `of` raised KeyError: 'seats' at tests/training/test_weights\.py:\d+",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("nothing_is_trained")
def test_a_wrong_weight_is_refused_before_anything_is_trained(tiny, monkeypatch, name):
    monkeypatch.chdir(REPOSITORY)
    of, said = WRONG[name]
    with pytest.raises(UsageError, match=said) as refused:
        trained(tiny, weighing(of))
    assert refused.value.next


@pytest.mark.parametrize(("which", "name"), [(0, "seats"), (1, "event_id")])
@pytest.mark.usefixtures("nothing_is_trained")
def test_a_weight_cannot_change_what_is_learned(tiny, which, name):
    def of(*given):
        given[which][name][:] = given[which][name][0]
        return np.ones(len(given[0]["seats"]))

    weight = weighing(of, events=("seats",), outcomes=("event_id",))
    with pytest.raises(UsageError, match=r"the weight's `of` raised ValueError: .* read-only"):
        trained(tiny, weight)


def raising(events, outcomes):
    raise ValueError(f"what of {events['distance'][0]}")


@pytest.mark.parametrize("of", [lambda e, o: e["distance"].tolist(), raising])
@pytest.mark.parametrize("secret", [True, False])
def test_what_a_weight_says_of_secret_fields_is_not_said(tiny, of, secret):
    events = departures()
    if secret:
        properties = {**events.document["properties"]}
        properties["distance"] = properties["distance"] | {"x-sensitive": True}
        events = type(events).from_document({**events.document, "properties": properties})
    plan = Plan("flight_delay", weighing(of), events, arrivals(), NO_WINDOWS, "", {})
    with pytest.raises(UsageError, match="the weight's `of` r") as refused:
        training.train(Settings(home=tiny.home, lake=tiny.lake), plan)
    said = refused.value.message
    assert ("returns a list, not" in said) == (of is not raising)
    assert "ValueError" in said or of is not raising
    assert ("what of" in said) == (of is raising and not secret)


def test_a_secret_weight_is_not_said(tiny):
    document = {**departures().document, "properties": {**departures().document["properties"]}}
    document["properties"]["distance"] = document["properties"]["distance"] | {"x-sensitive": True}
    secret = type(departures()).from_document(document)
    definition = weighing(lambda e, o: -e["distance"])
    plan = Plan("flight_delay", definition, secret, arrivals(), NO_WINDOWS, "", {})
    with pytest.raises(UsageError, match=r"of event '\S+' is \(sensitive\), and a weight"):
        training.train(Settings(home=tiny.home, lake=tiny.lake), plan)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"of": 3}, "of of the Weight is 3, not a function"),
        ({"meaning": " "}, "meaning of the Weight is ' ', not a text"),
        ({"events": "distance"}, "events of the Weight is 'distance', not a tuple"),
        ({"events": (), "outcomes": ()}, r"what the Weight reads is \(\), not at least one"),
    ],
)
def test_a_weight_of_wrong_types(changes, said):
    with pytest.raises(UsageError, match=said) as refused:
        dataclasses.replace(FAR_AND_LATE, **changes)
    assert refused.value.next


def planned(tiny, monkeypatch, definition) -> Plan:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(training, "load_definition", lambda _: definition)
    return make_plan(Settings(home=tiny.home, lake=tiny.lake), "flight_delay")


@pytest.mark.parametrize("changes", [{"events": ("arr_delay",)}, {"outcomes": ("distance",)}])
def test_a_weight_reads_fields_that_there_are(tiny, monkeypatch, changes):
    definition = weighing(FAR_AND_LATE.of, **changes)
    with pytest.raises(UsageError, match=r"a field that the weight reads of flight_\w+ is '"):
        planned(tiny, monkeypatch, definition)


def test_weights_are_part_of_what_a_training_is(tiny, monkeypatch):
    other = dataclasses.replace(FAR_AND_LATE, meaning="something else")
    definitions = [dataclasses.replace(SMALL, weight=w) for w in (None, FAR_AND_LATE, other)]
    assert len({planned(tiny, monkeypatch, d).fingerprint for d in definitions}) == 3
    plain, weighed, doubled = (
        read(tiny, weight).fingerprint()
        for weight in (
            None,
            FAR_AND_LATE,
            dataclasses.replace(FAR_AND_LATE, of=lambda e, o: 2 * FAR_AND_LATE.of(e, o)),
        )
    )
    assert len({plain, weighed, doubled}) == 3


def test_a_model_learns_by_them_and_is_judged_without(tiny):
    plain = fitted(tiny, SMALL)
    weighed = trained(tiny, dataclasses.replace(SMALL, weight=FAR_AND_LATE))
    assert weighed.native != plain.native.file()
    assert weighed.rows.weight is not None
    assert weighed.test_rows.weight is None
    about = weighed.compiled.model.manifest.training
    assert about.parameters["weight"] == "miles and minutes"
    assert about.metrics["auc"] > 0.6
    assert weighed.compiled.certificate.compared["validation"].margins_differ == 0


def test_nobody_asks_what_test_rows_weigh(tiny):
    day = np.datetime64("2013-01-08", "us").astype(np.int64)

    def of(events, outcomes):
        assert (events["departed_at"] < day).all()
        return np.ones(len(events["departed_at"]))

    definition = weighing(of, events=("departed_at",), outcomes=())
    assert fitted(tiny, definition).examples.weight is not None
