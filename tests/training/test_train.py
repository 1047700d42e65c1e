"""From the lake to a certified model: the same twice, and stopped when it may not go on."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import xgboost

from lockstep.compiled_model import open_model
from lockstep.compiled_model.certificate import Certificate
from lockstep.errors import CheckFailed, LakeError, ModelRefused, UsageError
from lockstep.estimators.xgboost import XGBoostModel
from lockstep.registry.locate import Located, certificate_path, locate, native_path
from lockstep.scoring import OnnxScorer
from lockstep.settings import Settings
from lockstep.training import verification
from lockstep.training.definition import Definition, Label, Period, load_definition
from lockstep.training.train import check_gates, make_plan
from lockstep.training.verification import verify
from models.flight_delay.model import MODEL
from tests.small_model import some


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> Path:
    """The tiny model, trained by the command in a process of its own."""
    output = tmp_path_factory.mktemp("trained") / "tiny.onnx"
    tiny.type("train", "tiny", "--output", str(output))
    return output


def settings_of(tiny, **other: str) -> Settings:
    return Settings(home=tiny.home, **{"lake": tiny.lake, **other})


def test_the_same_training_gives_the_same_bytes(tiny, trained, tmp_path):
    output = tmp_path / "elsewhere" / "again.onnx"
    # Another process, another folder, another order of its hashes.
    tiny.type("train", "tiny", "--output", str(output), PYTHONHASHSEED="7")
    assert output.read_bytes() == trained.read_bytes()
    assert certificate_path(output).read_bytes() == certificate_path(trained).read_bytes()
    assert native_path(output, ".ubj").read_bytes() == native_path(trained, ".ubj").read_bytes()


def test_other_settings_give_another_model(tiny, trained, tmp_path):
    output = tmp_path / "other.onnx"
    tiny.type("train", "tiny", "--output", str(output), "--trees", "5")
    other = open_model(output.read_bytes())
    model = open_model(trained.read_bytes())
    assert other.manifest.estimator.trees == 5
    assert other.manifest.fingerprints["data"] == model.manifest.fingerprints["data"]
    assert other.manifest.fingerprints["settings"] != model.manifest.fingerprints["settings"]


def test_what_the_file_says_of_itself(trained):
    model = open_model(trained.read_bytes())
    about = model.manifest.training
    assert model.manifest.use_case == "tiny"
    assert (about.trained_from, about.trained_until) == ("2013-01-02", "2013-01-11")
    assert (about.tested_from, about.tested_until) == ("2013-01-12", "2013-01-17")
    assert about.rows > about.positives > 0
    assert about.metrics["auc"] > 0.8
    assert about.parameters["trees"] == model.manifest.estimator.trees == 12
    assert set(about.profile) == {*model.input_names, *model.window_names}
    gusts = about.profile["wind_gust"]
    assert 0 < gusts.nulls < 1
    assert list(gusts.quantiles) == sorted(gusts.quantiles)
    carriers = about.profile["carrier"]
    assert len(carriers.frequent) == 10
    assert sum(carriers.frequent.values()) <= 1
    assert {"onnxruntime", "xgboost", "lockstep"} <= set(model.manifest.versions)
    assert list(about.scores) == sorted(about.scores)


def test_nothing_of_the_machine_is_in_the_file(tiny, trained):
    content = trained.read_bytes()
    for path in (tiny.root, tiny.home, Path.home(), Path(__file__).parents[2]):
        assert str(path).encode() not in content


def test_it_scores(trained):
    model = open_model(trained.read_bytes())
    scores = OnnxScorer(model).score(some(slice(0, 500)), np.zeros((500, len(model.windows)), "f4"))
    assert np.isfinite(scores.margin).all()


def test_its_certificate_can_be_measured_again(tiny, trained, monkeypatch):
    settings = settings_of(tiny)
    found = locate(settings, str(trained))
    verified = verify(settings, found)
    assert verified.recorded_events > 3_000
    assert verified.certificate is not None
    assert verified.certificate.rows() > 40_000
    assert verified.certificate.feature_rows() == 0
    assert verified.stored is not None
    assert verified.stored.feature_rows() == verified.stored.compared["validation"].rows + 10_000
    assert verified.stored == Certificate.from_json(certificate_path(trained).read_bytes())
    # By the bound that the model was made with, whatever this version's is.
    monkeypatch.setattr(XGBoostModel, "score_bound", 1.0)
    assert verify(settings, found).certificate == verified.certificate
    without = verify(settings.model_copy(update={"lake": "/no/lake"}), found)
    assert without.recorded_events == 0
    assert without.certificate is not None
    alone = verify(settings, dataclasses.replace(found, native=None, certificate=None))
    assert alone.certificate is alone.stored is None


def test_another_native_model_is_noticed(tiny, trained, tmp_path):
    other = tmp_path / "other.onnx"
    trained_booster = bytearray(native_path(trained, ".ubj").read_bytes())
    tiny.type("train", "tiny", "--output", str(other), "--trees", "11")
    found = Located(
        "tiny",
        trained.read_bytes(),
        None,
        certificate_path(trained).read_bytes(),
        native_path(other, ".ubj").read_bytes(),
    )
    settings = settings_of(tiny, lake="/no/lake")
    with pytest.raises(ModelRefused, match=r"is of 11 trees .*, and compiled was one of 12 trees"):
        verify(settings, found)
    shifted = json.loads(bytes(xgboost.Booster(model_file=trained_booster).save_raw("json")))
    shifted["learner"]["learner_model_param"]["base_score"] = "[4.5E-1]"
    with pytest.raises(ModelRefused, match="margins differ from native"):
        verify(settings, dataclasses.replace(found, native=json.dumps(shifted).encode()))
    renamed = xgboost.Booster(model_file=bytearray(found.native or b""))
    renamed.feature_names = list(reversed(renamed.feature_names or ()))
    for native, said in (
        (renamed, r"is not what was compiled: feature 0 is '\w+' in the booster"),
        (unfit(5), r"is not what was compiled: the booster has 5 features"),
    ):
        other_features = dataclasses.replace(found, native=bytes(native.save_raw("ubj")))
        with pytest.raises(ModelRefused, match=said):
            verify(settings, other_features)
    with pytest.raises(ModelRefused, match="native model beside it cannot be used"):
        verify(settings, dataclasses.replace(found, native=b"nothing"))
    with pytest.raises(ModelRefused, match="certificate beside tiny is of digest"):
        verify(
            settings,
            dataclasses.replace(found, certificate=certificate_path(other).read_bytes()),
        )


def test_a_library_that_lacks_is_said_before_anything_is_read(trained, monkeypatch, tmp_path):
    found = locate(Settings(home=tmp_path), str(trained))
    monkeypatch.setattr(verification, "recorded_columns", lambda *_: pytest.fail("it was read"))
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UsageError, match="needs the library xgboost") as refused:
        verify(Settings(home=tmp_path), found)
    assert refused.value.next == "uv sync --extra train"


def test_a_native_model_that_cannot_be_used_is_said_before_anything_is_read(
    trained, monkeypatch, tmp_path
):
    found = locate(Settings(home=tmp_path), str(trained))
    monkeypatch.setattr(verification, "recorded_columns", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelRefused, match="native model beside it cannot be used") as refused:
        verify(Settings(home=tmp_path), dataclasses.replace(found, native=b"nothing"))
    assert refused.value.next == "lockstep train tiny --again"


def unfit(features: int) -> xgboost.Booster:
    """A booster of something else."""
    rows = xgboost.DMatrix(np.eye(features, dtype="f4"), label=np.arange(features) % 2)
    return xgboost.train({"objective": "binary:logistic", "nthread": 1}, rows, 1)


def test_a_day_that_the_lake_lacks(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(LakeError, match="2013-01-02") as refused:
        make_plan(Settings(home=tmp_path, lake=str(tmp_path)), "flight_delay")
    assert refused.value.next is not None
    assert "lockstep data flight_delay" in refused.value.next


def test_gates():
    check_gates(MODEL, {"auc": 0.93})
    with pytest.raises(CheckFailed, match=r"auc .* is 0.89, below its gate of 0.921"):
        check_gates(MODEL, {"auc": 0.89})
    with pytest.raises(CheckFailed, match=r"auc .* is nan"):
        check_gates(MODEL, {})
    errors = dataclasses.replace(MODEL, gates={"rmse": 2.0})
    check_gates(errors, {"rmse": 1.9})
    with pytest.raises(CheckFailed, match=r"rmse .* is 2.1, above its gate of 2.0"):
        check_gates(errors, {"rmse": 2.1})
    with pytest.raises(CheckFailed, match=r"rmse .* is nan"):
        check_gates(errors, {})


def test_periods_do_not_overlap():
    with pytest.raises(UsageError, match="test period starts on 2013-09-30"):
        dataclasses.replace(MODEL, test=Period(date(2013, 9, 30), date(2013, 12, 1)))
    with pytest.raises(UsageError, match="has no days"):
        Period(date(2013, 1, 1), date(2013, 1, 1))


def test_labels_of_the_training_period_are_known_before_the_test_period():
    """Else the test would be of a model that nobody could have trained by then."""
    label = dataclasses.replace(MODEL.label, within=timedelta(days=30))
    with pytest.raises(
        UsageError, match="known within 30 days, 0:00:00, so until 2013-10-31"
    ) as no:
        dataclasses.replace(MODEL, label=label)
    assert no.value.next == (
        "leave a gap: start the test period on 2013-10-31, or end the training period on 2013-09-02"
    )
    for fits in (
        {"test": Period(date(2013, 10, 31), date(2014, 1, 1))},
        {"train": Period(date(2013, 1, 2), date(2013, 9, 2))},
    ):
        dataclasses.replace(MODEL, label=label, **fits)


@pytest.mark.parametrize("within", [timedelta(0), timedelta(days=-1), 2, None])
def test_a_label_has_a_time_to_be_known_in(within):
    with pytest.raises(UsageError, match="not a time above 0"):
        dataclasses.replace(MODEL.label, within=within)


def test_nobody_guesses_how_long_a_label_takes():
    with pytest.raises(TypeError, match="within"):
        Label(contract="arrival.v1.json", fields=(), of=len, meaning="")


def test_what_is_no_definition(tmp_path, monkeypatch):
    assert isinstance(load_definition("flight_delay"), Definition)
    with pytest.raises(UsageError, match=r"there is no models/nobody/model.py"):
        load_definition("nobody")
    import models.flight_delay.model as module

    monkeypatch.setattr(module, "MODEL", 5)
    with pytest.raises(UsageError, match="has no MODEL that is"):
        load_definition("flight_delay")
