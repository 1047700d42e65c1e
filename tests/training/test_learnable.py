"""What cannot be learned is refused before anything is trained, with what to write instead."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators import Examples, Native, XGBoost
from lockstep.features import namespace
from lockstep.settings import Settings
from lockstep.training import train as training
from lockstep.training.definition import Definition, Label, Period
from lockstep.training.labels import label_values
from lockstep.training.metrics import measure, names
from lockstep.training.train import Plan, make_plan
from lockstep.windows.semantics import NO_WINDOWS
from models.flight_delay.features import fit, row_features
from models.flight_delay.model import MODEL
from tests.small_model import REPOSITORY, arrivals, departures

SMALL = dataclasses.replace(
    MODEL,
    features=row_features,
    fit=fit,
    windows=(),
    train=Period(date(2013, 1, 2), date(2013, 1, 6)),
    test=Period(date(2013, 1, 8), date(2013, 1, 10)),
    estimator=dataclasses.replace(MODEL.estimator, trees=2),
    gates={},
)
MINUTES = {"estimator": XGBoost({"objective": "reg:squarederror"}, trees=2)}


def constrained(monotone: Any) -> XGBoost:
    parameters = {**MODEL.estimator.parameters, "monotone_constraints": monotone}
    return dataclasses.replace(SMALL.estimator, parameters=parameters)


def labelled(of: Any) -> dict[str, Any]:
    return {"label": dataclasses.replace(MODEL.label, of=of, meaning="a label")}


def trained(tiny, definition: Definition) -> training.Trained:
    plan = Plan("flight_delay", definition, departures(), arrivals(), NO_WINDOWS, "", {})
    return training.train(Settings(home=tiny.home, lake=tiny.lake), plan)


class Fitted(Exception):
    """A training that went as far as its native model."""

    def __init__(self, native: Native, examples: Examples, held_out: Examples | None) -> None:
        self.native, self.examples, self.held_out = native, examples, held_out


def fitted(tiny, definition: Definition) -> Fitted:
    """Train, and compile nothing: most of the time goes into the certificate."""

    def fit(definition, traced, examples, held_out, progress):
        native = definition.estimator.fit(traced.names, examples, held_out, progress)
        raise Fitted(native, examples, held_out)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "_fit", fit)
        with pytest.raises(Fitted) as found:
            trained(tiny, definition)
    return found.value


@pytest.fixture
def nothing_is_trained(monkeypatch):
    def fit(*_: Any) -> None:
        pytest.fail("something was trained")

    monkeypatch.setattr(training, "_fit", fit)


def made(**features: Any) -> dict[str, Any]:
    def function(event, fitted):
        xp = namespace(event["seats"])
        return {name: make(xp, event) for name, make in features.items()}

    return {"features": function}


UNLEARNABLE = {
    "a parameter": (
        {"estimator": XGBoost({"objectve": "binary:logistic"}, 2)},
        "names no objective",
    ),
    "a gate": ({"gates": {"rmse": 3}}, "a gate is 'rmse', not one of auc, log_loss"),
    "one class": (
        labelled(lambda c: c["arr_delay"] > 1e6),
        r"every label of the training period, from 2013-01-02 until 2013-01-06, is 0: 'a label'",
    ),
    "one number": (
        {**labelled(lambda c: np.full(len(c["arr_delay"]), 7.5)), **MINUTES},
        "every label of the training period, .* is 7.5",
    ),
    "three classes": (
        labelled(lambda c: np.sign(c["arr_delay"]) + 1),
        r"the label 'a label' of event '\S+' is 2, and binary:logistic learns 0 or 1 \(",
    ),
    "an infinite label": (
        {**labelled(lambda c: 1 / np.maximum(c["arr_delay"], 0)), **MINUTES},
        r"of event '\S+' is inf, and reg:squarederror learns a finite float32",
    ),
    "too large a label": (
        {**labelled(lambda c: c["arr_delay"] * 1e38), **MINUTES},
        r"of event '\S+' is -?inf, and reg:squarederror learns a finite float32",
    ),
    "no label": (
        labelled(lambda c: np.full(len(c["arr_delay"]), np.nan)),
        "the training period, .* has no event with a known outcome",
    ),
    "labels of another length": (
        labelled(lambda c: c["arr_delay"][:-1] > 15),
        r"the label's `of` returns bool of the shape \(\d+,\), not a NumPy array of",
    ),
    "labels of text": (
        labelled(lambda c: np.where(c["arr_delay"] > 15, "late", "not")),
        "the label's `of` returns <U4 of the shape",
    ),
    "a label for all": (labelled(lambda c: True), "the label's `of` returns a bool, not"),
    "a label that raises": (
        labelled(lambda c: c["delay"] > 15),
        r"the label's `of` raised KeyError: 'delay' at tests/training/test_learnable\.py:\d+",
    ),
    "a label that writes": (
        {
            "label": dataclasses.replace(
                MODEL.label, fields=("event_id",), of=lambda c: c["event_id"].sort()
            )
        },
        "the label's `of` raised ValueError: .* read-only",
    ),
    "fit that writes": (
        {"fit": lambda columns: columns["seats"].sort() or {}},
        "fit raised ValueError: .* read-only",
    ),
    "fit of nothing": ({"fit": lambda columns: None}, "what fit returns is None, not names"),
    "fit that raises": (
        {"fit": lambda columns: columns["nobody"]},
        r"fit raised KeyError: 'nobody' at tests/training/test_learnable\.py:\d+",
    ),
    "features that raise": (
        made(f=lambda xp, event: event["nobody"]),
        r"the features function raised KeyError: 'nobody' at tests/training/test_learn",
    ),
    "features of one argument": (
        {"features": lambda event: {}},
        "the features function raised TypeError: .* positional",
    ),
    "a feature's name": (
        {"features": lambda event, fitted: {"a<b": event["seats"]}},
        "a feature is named 'a<b': a name is text without",
    ),
    "infinite features": (
        made(seats=lambda xp, e: e["seats"], per=lambda xp, e: e["seats"] / e["precip"]),
        r"feature 'per' of event '\S+' is inf, which no estimator learns from \(",
    ),
    "constant features": (
        made(a=lambda xp, e: e["distance"] * 0, b=lambda xp, e: e["seats"] * xp.nan),
        "every feature is the same in every training row: a, b",
    ),
    "a constraint": (
        {"estimator": constrained({"nobody": 1})},
        "monotone_constraints names the feature 'nobody'; features.py makes ",
    ),
}


@pytest.mark.parametrize("name", UNLEARNABLE)
@pytest.mark.usefixtures("nothing_is_trained")
def test_what_cannot_be_learned(tiny, monkeypatch, name):
    monkeypatch.chdir(REPOSITORY)
    changes, said = UNLEARNABLE[name]
    with pytest.raises(UsageError, match=said) as refused:
        trained(tiny, dataclasses.replace(SMALL, **changes))
    assert refused.value.next


@pytest.mark.usefixtures("nothing_is_trained")
def test_a_feature_that_numpy_computes_otherwise_is_not_trained_on(tiny):
    log = made(far=lambda xp, event: xp.log(event["distance"]))
    with pytest.raises(ModelRefused, match=r"feature 'far' .* of training it is .* distance is"):
        trained(tiny, dataclasses.replace(SMALL, **log))


def test_an_error_of_a_secret_label_is_not_said(tiny):
    def of(columns):
        raise ValueError(f"what of {columns['v'][0]}")

    label = Label("a.json", ("v",), of, "v", timedelta(days=1))
    for secret in (True, False):
        with pytest.raises(UsageError, match="the label's `of` raised ValueError") as refused:
            label_values(label, {"v": np.array([12345.0])}, 1, secret=secret)
        assert ("12345" in refused.value.message) != secret


def test_a_secret_label_is_not_said(tiny):
    document = {**arrivals().document, "properties": {**arrivals().document["properties"]}}
    delay = document["properties"]["arr_delay"]
    document["properties"]["arr_delay"] = delay | {"x-sensitive": True}
    secret = type(arrivals()).from_document(document)
    definition = dataclasses.replace(SMALL, **labelled(lambda c: c["arr_delay"]))
    plan = Plan("flight_delay", definition, departures(), secret, NO_WINDOWS, "", {})
    with pytest.raises(UsageError, match=r"of event '\S+' is \(sensitive\), and"):
        training.train(Settings(home=tiny.home, lake=tiny.lake), plan)


def test_what_can_be_learned_tells_of_features_that_say_nothing(tiny):
    said = []

    class Told:
        def start(self, step: str, total: int | None = None) -> None: ...
        def advance(self, amount: int = 1) -> None: ...
        def finish(self, words: str) -> None:
            said.append(words)

    features = made(seats=lambda xp, e: e["seats"], nought=lambda xp, e: e["distance"] * 0)
    plan = Plan(
        *("flight_delay", dataclasses.replace(SMALL, **features), departures(), arrivals()),
        *(NO_WINDOWS, "", {}),
    )
    training.train(Settings(home=tiny.home, lake=tiny.lake), plan, Told())
    assert any(words.endswith("; the same in every training row: nought") for words in said)


def test_a_label_reads_fields_that_there_are(tiny, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    label = dataclasses.replace(MODEL.label, fields=("arr_dely",))
    definition = dataclasses.replace(SMALL, label=label)
    monkeypatch.setattr(training, "load_definition", lambda use_case: definition)
    with pytest.raises(UsageError, match="a field of the label is 'arr_dely', not one of"):
        make_plan(Settings(home=tiny.home, lake=tiny.lake), "flight_delay")


def test_labels_may_be_truth_or_numbers_of_any_size():
    label = Label("a.json", ("v",), lambda c: c["v"], "v", timedelta(days=1))
    for values in (np.array([True, False]), np.array([1, 0], np.uint8), np.array([0.5, np.nan])):
        found = label_values(label, {"v": values}, 2)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values.astype(np.float32))


def test_every_metric_has_its_name():
    for gives in ("probability", "number"):
        found = measure(gives, np.array([0, 1]), np.array([0.1, 0.8], np.float32))
        assert tuple(found) == names(gives)
