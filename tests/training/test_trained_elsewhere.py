"""A model file that exists already is measured and certified like a trained one."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import xgboost

from lockstep.errors import CheckFailed, UsageError
from lockstep.estimators import Trained, XGBoost
from lockstep.registry.locate import Located
from lockstep.settings import Settings
from lockstep.training import Definition
from lockstep.training import train as training
from lockstep.training.train import check_gates
from lockstep.training.verification import verify
from tests.small_model import REPOSITORY
from tests.training.test_learnable import SMALL, fitted, nothing_is_trained, trained
from tests.training.test_weights import FAR_AND_LATE, planned

__all__ = ["nothing_is_trained"]

OWN = dataclasses.replace(SMALL, estimator=XGBoost(SMALL.estimator.parameters, trees=8))


@pytest.fixture(scope="module")
def own(tiny) -> training.Trained:
    """What Lockstep itself trains."""
    return trained(tiny, OWN)


def saved(own: training.Trained, folder: Path) -> Definition:
    """The same booster, saved by XGBoost."""
    booster = xgboost.Booster(model_file=bytearray(own.native.data))
    booster.save_model(folder / "elsewhere.json")
    return dataclasses.replace(OWN, estimator=Trained(folder / "elsewhere.json"))


@pytest.fixture
def elsewhere(own, tmp_path) -> Definition:
    return saved(own, tmp_path)


@pytest.fixture(scope="module")
def found(tiny, own, tmp_path_factory) -> training.Trained:
    return trained(tiny, saved(own, tmp_path_factory.mktemp("elsewhere")))


def test_it_becomes_the_same_model_as_one_that_was_trained_here(own, found, elsewhere, tmp_path):
    ours, theirs = own.compiled.model.manifest, found.compiled.model.manifest
    assert theirs.golden == ours.golden
    assert theirs.estimator == ours.estimator
    assert theirs.training.metrics == ours.training.metrics
    assert theirs.training.metrics["auc"] > 0.6
    assert found.native == own.native
    assert found.compiled.certificate.compared == own.compiled.certificate.compared
    digest = hashlib.sha256((tmp_path / "elsewhere.json").read_bytes()).hexdigest()
    assert theirs.training.parameters == {
        "file": "elsewhere.json",
        "sha256": digest,
        "label": OWN.label.meaning,
    }
    assert str(tmp_path.parent).encode() not in found.compiled.model.data


def test_it_is_verified_like_another(tiny, found, tmp_path):
    model = found.compiled.model
    located = Located("elsewhere", model.data, model.digest, None, found.native.data)
    verified = verify(Settings(home=tmp_path, lake=tiny.lake), located)
    assert verified.certificate is not None
    assert all(part.holds for part in verified.certificate.compared.values())


def test_the_test_period_judges_it(found, elsewhere):
    metrics = found.compiled.model.manifest.training.metrics
    with pytest.raises(CheckFailed, match=r"auc on the test period is 0\.\d+, below its gate"):
        check_gates(dataclasses.replace(elsewhere, gates={"auc": 0.999}), metrics)


def test_another_file_is_another_training(tiny, monkeypatch, elsewhere, tmp_path):
    before = planned(tiny, monkeypatch, elsewhere)
    again = dataclasses.replace(elsewhere, estimator=Trained(tmp_path / "elsewhere.json"))
    assert planned(tiny, monkeypatch, again).fingerprint == before.fingerprint
    booster = xgboost.Booster(model_file=tmp_path / "elsewhere.json")
    booster[:5].save_model(tmp_path / "elsewhere.json")
    other = dataclasses.replace(elsewhere, estimator=Trained(tmp_path / "elsewhere.json"))
    assert planned(tiny, monkeypatch, other).fingerprint != before.fingerprint


@pytest.mark.usefixtures("nothing_is_trained")
def test_features_in_another_order_are_refused(tiny, elsewhere, tmp_path):
    booster = xgboost.Booster(model_file=tmp_path / "elsewhere.json")
    booster.feature_names = list(reversed(booster.feature_names or []))
    booster.save_model(tmp_path / "swapped.ubj")
    swapped = dataclasses.replace(elsewhere, estimator=Trained(tmp_path / "swapped.ubj"))
    with pytest.raises(UsageError, match=r"feature 0 is '\w+' in the booster and '\w+' in feat"):
        trained(tiny, swapped)


def test_a_pickle_is_refused_before_anything_is_read(monkeypatch, elsewhere, tmp_path):
    import pickle

    monkeypatch.chdir(REPOSITORY)
    (tmp_path / "model.ubj").write_bytes(pickle.dumps({"a": "booster"}))
    pickled = dataclasses.replace(elsewhere, estimator=Trained(tmp_path / "model.ubj"))
    monkeypatch.setattr(training, "load_definition", lambda _: pickled)
    with pytest.raises(UsageError, match="is a Python pickle"):
        training.make_plan(Settings(home=tmp_path, lake=str(tmp_path / "none")), "flight_delay")


def test_what_learning_needs_is_not_asked_of_it(tiny, elsewhere):
    """The control: of what is trained here, it is."""

    def of(outcomes):
        from_then = np.datetime64("2013-01-08", "us").astype(np.int64)
        return (outcomes["arrived_at"] >= from_then) & (outcomes["arr_delay"] > 15)

    label = dataclasses.replace(SMALL.label, fields=("arr_delay", "arrived_at"), of=of)
    found = fitted(tiny, dataclasses.replace(elsewhere, label=label))
    assert not found.examples.label.any()
    with pytest.raises(UsageError, match=r"every label of the training period, .* is 0"):
        trained(tiny, dataclasses.replace(OWN, label=label))


def test_nothing_can_weigh_in_what_is_not_trained(elsewhere):
    with pytest.raises(UsageError, match=r"weight .* None: Trained trains nothing"):
        dataclasses.replace(elsewhere, weight=FAR_AND_LATE)
