"""A model file that exists already is known by its content, or refused with what is understood."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from lockstep.errors import UsageError
from lockstep.estimators import Examples, Trained
from lockstep.progress import Silent
from tests.estimators.test_xgboost_forest import X, Y, booster

NAMES = list("abcde")
NOTHING = Examples(X[:0], Y[:0])


def named(native: xgboost.Booster | None = None, names: list[str] | None = None) -> xgboost.Booster:
    native = native or booster(trees=5)
    native.feature_names = names or NAMES
    return native


def file(folder: Path, name: str, data: bytes) -> Trained:
    (folder / name).write_bytes(data)
    return Trained(folder / name)


@pytest.mark.parametrize("format", ["ubj", "json"])
@pytest.mark.parametrize("name", ["model.ubj", "model.json", "model", "model.pkl"])
def test_xgboosts_own_formats_are_understood_whatever_they_are_called(tmp_path, format, name):
    native = named()
    data = bytes(native.save_raw(format))
    estimator = file(tmp_path, name, data)
    estimator.require()
    estimator.require(NAMES)
    found = estimator.fit(NAMES, NOTHING, None, Silent())
    np.testing.assert_array_equal(
        found.answers(X)[1], native.inplace_predict(X, predict_type="margin")
    )
    assert estimator.described() == {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
    assert (estimator.gives, estimator.objective) == ("probability", "binary:logistic")
    assert not estimator.learns


def test_a_file_that_xgboost_writes_itself(tmp_path):
    for name in ("model.ubj", "model.json"):
        named().save_model(tmp_path / name)
        Trained(str(tmp_path / name)).require(NAMES)


class Bomb:
    """What opening a pickle may do."""

    went_off = False

    def __reduce__(self) -> Any:
        return (setattr, (Bomb, "went_off", True))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["model.ubj", "model.json", "model.pkl"])
def test_a_pickle_is_refused_whatever_its_name(tmp_path, name, protocol):
    for content in (Bomb(), named()):
        estimator = file(tmp_path, name, pickle.dumps(content, protocol))
        with pytest.raises(UsageError, match=rf"{name} is a Python pickle") as refused:
            estimator.require()
        assert "XGBoost's .ubj or .json" in (refused.value.next or "")
    assert not Bomb.went_off
    # The control: opening it would have run what is written in it.
    pickle.loads(pickle.dumps(Bomb(), protocol))  # noqa: S301
    assert Bomb.went_off
    Bomb.went_off = False


@pytest.mark.parametrize(
    "data",
    [
        b".",
        b".gitignore",
        b"N.B.",
        b"a tree of 3.5",
        b"",
        b"tree\nversion=v4\n",
        b"\x08\x07onnx",
        b"{}",
        b'{"a": 1}',
        b"PK\x03\x04",
        b"binf",
    ],
    ids=repr,
)
def test_another_file_is_refused_with_what_is_understood(tmp_path, data):
    with pytest.raises(UsageError, match="is no model file that is understood") as refused:
        file(tmp_path, "model.ubj", data).require()
    assert "XGBoost's .ubj or .json" in (refused.value.next or "")


@pytest.mark.parametrize("format", ["ubj", "json"])
def test_a_damaged_file_is_refused(tmp_path, format):
    data = bytes(named().save_raw(format))
    for cut in (len(data) // 2, len(data) - 1, 30):
        with pytest.raises(UsageError, match="/model cannot be taken: XGBoost") as refused:
            file(tmp_path, "model", data[:cut]).require()
        assert refused.value.next == "save it again, whole"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.ubj cannot be read: No such file"):
        Trained(tmp_path / "nothing.ubj").require()
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory"):
        Trained(tmp_path).described()
    for wrong in (None, "", b"model.ubj"):
        with pytest.raises(UsageError, match=r"path of Trained is .*, not a path"):
            Trained(wrong)  # type: ignore[arg-type]


def test_its_features_are_those_of_features_py_in_their_order(tmp_path):
    data = bytes(named(names=list("abced")).save_raw())
    estimator = file(tmp_path, "model.ubj", data)
    estimator.require()
    with pytest.raises(
        UsageError, match=r"model\.ubj cannot be taken: feature 3 is 'e' in the booster and 'd'"
    ):
        estimator.require(NAMES)
    with pytest.raises(UsageError, match=r"has 5 features, features\.py makes 4"):
        estimator.require(NAMES[:4])


@pytest.mark.parametrize("names", [NAMES[:4], [*NAMES, "f"]])
def test_a_file_that_names_more_or_fewer_features_than_it_has_is_damaged(tmp_path, names):
    document = json.loads(bytes(named().save_raw("json")))
    document["learner"]["feature_names"] = names
    estimator = file(tmp_path, "model.json", json.dumps(document).encode())
    with pytest.raises(UsageError, match=rf"has 5 features and names {len(names)}") as refused:
        estimator.require()
    assert "model.json" in refused.value.message


def test_features_without_names_have_no_order(tmp_path):
    with pytest.raises(UsageError, match="does not say what its features are called") as refused:
        file(tmp_path, "model.ubj", bytes(booster(trees=2).save_raw())).require()
    assert "feature_names" in (refused.value.next or "")


def test_what_cannot_be_compiled_is_refused_before_anything_is_read(tmp_path):
    native = named(booster(trees=3, objective="count:poisson"))
    with pytest.raises(UsageError, match=r"poisson\.ubj cannot be taken: the objective 'count:p"):
        file(tmp_path, "poisson.ubj", bytes(native.save_raw())).require()


def test_a_file_that_was_stopped_early_says_which_rounds_it_means(tmp_path):
    rows = xgboost.DMatrix(X[:2_000], label=Y[:2_000], feature_names=NAMES)
    seen = xgboost.DMatrix(X[2_000:], label=Y[2_000:], feature_names=NAMES)
    parameters = {"objective": "binary:logistic", "learning_rate": 1.0, "nthread": 1}
    native = xgboost.train(
        *(parameters, rows, 100),
        evals=[(seen, "seen")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    with pytest.raises(
        UsageError, match=r"all\.ubj cannot be taken: .* stopped early: its first"
    ) as refused:
        file(tmp_path, "all.ubj", bytes(native.save_raw())).require()
    assert "booster[: booster.best_iteration + 1]" in (refused.value.next or "")
    assert (refused.value.next or "").endswith("; then save it again")
    best = native[: native.best_iteration + 1]
    file(tmp_path, "best.ubj", bytes(best.save_raw())).require(NAMES)


def test_what_is_described_is_what_is_compiled(tmp_path):
    """A file that changes meanwhile changes nothing."""
    estimator = file(tmp_path, "model.ubj", bytes(named().save_raw()))
    described = estimator.described()
    (tmp_path / "model.ubj").write_bytes(bytes(named(booster(trees=9)).save_raw()))
    assert estimator.fit(NAMES, NOTHING, None, Silent()).about.trees == 5
    assert estimator.described() == described
    assert dataclasses.replace(estimator).described() != described


def test_it_has_no_number_of_trees_to_try(tmp_path):
    with pytest.raises(UsageError, match="Trained has no number of trees"):
        file(tmp_path, "model.ubj", bytes(named().save_raw())).resized(3)
