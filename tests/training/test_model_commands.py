"""lockstep data, train, models, inspect and verify, typed, with a real registry."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockstep.compiled_model import digest_of, open_model
from lockstep.registry.mlflow import CHAMPION, fetch_model, model_versions, set_alias
from lockstep.settings import Settings

Type = Callable[..., Any]


@pytest.fixture(scope="module")
def registry(tiny, mlflow_server) -> Settings:
    return Settings(home=tiny.home, lake=tiny.lake, mlflow=mlflow_server.url)


@pytest.fixture(scope="module")
def type_(tiny, registry: Settings) -> Type:
    def typed(*words: str, check: bool = True) -> Any:
        return tiny.type(*words, check=check, LOCKSTEP_MLFLOW=registry.mlflow)

    return typed


@pytest.fixture(scope="module")
def trained(type_: Type) -> dict[str, Any]:
    """What the first `lockstep train` said."""
    assert "no version of tiny is registered" in type_("models", "tiny").stdout
    done = type_("train", "tiny", "--json")
    assert not re.search("INFO|WARN", done.stderr), "what a package says of its own progress"
    return json.loads(done.stdout)


def test_train_registers_a_version_with_its_digest(registry, trained):
    assert trained["trained"]
    assert trained["registered"]
    assert trained["version"] == 1
    assert trained["metrics"]["auc"] > 0.8
    assert "0 of " in trained["certificate"]
    data = fetch_model(registry, "tiny", 1, trained["digest"])
    assert open_model(data, digest=trained["digest"]).manifest.use_case == "tiny"


def test_the_same_is_not_trained_again(type_, registry, trained):
    done = type_("train", "tiny")
    assert "nothing to train: version 1 of tiny" in done.stdout
    assert json.loads(type_("train", "tiny", "--json").stdout) == {
        "use_case": "tiny",
        "trained": False,
        "version": 1,
        "digest": trained["digest"],
    }
    assert len(model_versions(registry, "tiny")) == 1


def test_again_trains_the_same_bytes_which_are_registered_once(type_, registry, trained):
    done = type_("train", "tiny", "--again")
    assert "the same bytes were registered before" in done.stdout
    assert "train on" in done.stderr
    assert [v.digest for v in model_versions(registry, "tiny")] == [trained["digest"]]


def test_models_lists_versions(type_, registry, trained):
    set_alias(registry, "tiny", CHAMPION, 1)
    (found,) = json.loads(type_("models", "tiny", "--json").stdout)["versions"]
    assert found["digest"] == trained["digest"]
    assert found["aliases"] == ["champion"]
    text = type_("models", "tiny").stdout
    assert f"version 1  {trained['digest'][:12]}" in text
    assert "0 of " in text
    # There is no warehouse here, and that is said instead of failing.
    assert "approvals: unknown" in text


def test_inspect(type_, trained):
    text = type_("inspect", "tiny/1").stdout
    for wanted in (trained["digest"], "tiny", "12 trees", "2013-01-12", "dep_delay", "auc"):
        assert wanted in text
    assert "last of arr_delay (scale 0) by tailnum" in text
    document = json.loads(type_("inspect", "tiny", "--json").stdout)
    assert [window["scale"] for window in document["manifest"]["windows"]] == [0, 0]
    assert document["digest"] == trained["digest"]
    assert document["manifest"]["estimator"]["trees"] == 12


def test_verify(type_, trained, tmp_path):
    text = type_("verify", "tiny").stdout
    assert "64 of 64 reproduce" in text
    assert "certificate, measured now: 0 of" in text
    document = json.loads(type_("verify", "tiny/1", "--json").stdout)
    compared = document["certificate"]["compared"]
    assert compared["validation"]["rows"] == document["recorded_events"] > 3_000
    assert all(found["margins_differ"] == 0 for found in compared.values())
    assert document["stored_certificate"]["digest"] == trained["digest"]


def test_a_file_without_its_native_model(type_, registry, trained, tmp_path):
    path = tmp_path / "alone.onnx"
    path.write_bytes(fetch_model(registry, "tiny", 1, trained["digest"]))
    text = type_("verify", str(path)).stdout
    assert "64 of 64 reproduce" in text
    assert "not measured again" in text


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_an_altered_file(type_, registry, trained, tmp_path, command):
    data = bytearray(fetch_model(registry, "tiny", 1, trained["digest"]))
    data[len(data) // 2] ^= 1
    path = tmp_path / "altered.onnx"
    path.write_bytes(data)
    done = type_(command, str(path), "--json", check=False)
    assert done.returncode == 1
    said = json.loads(done.stderr)
    assert said["kind"] == "ModelRefused"
    assert said["error"]


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_lies_beside_a_model_leads_to_it(type_, trained, tmp_path, command):
    path = tmp_path / "out.onnx"
    type_("train", "tiny", "--trees", "2", "--output", str(path))
    for other in ("out.native.ubj", "out.certificate.json"):
        done = type_(command, str(tmp_path / other), check=False)
        assert done.returncode == 2
        assert f"{tmp_path / other} lies beside a compiled model" in done.stderr
        assert f"next: {path}" in done.stderr
    alone = tmp_path / "booster.bin"
    alone.write_bytes((tmp_path / "out.native.ubj").read_bytes())
    done = type_(command, str(alone), check=False)
    assert done.returncode == 1
    assert "it is a booster as XGBoost saves it (UBJSON)" in done.stderr
    assert "name a compiled model" in done.stderr


@pytest.mark.parametrize("name", ["LOCKSTEP_LAKE", "LOCKSTEP_HOME"])
def test_a_folder_that_is_a_file_is_named(tiny, name):
    done = tiny.type("data", "tiny", check=False, **{name: str(tiny.root / "models/__init__.py")})
    assert done.returncode == 2
    assert f"{name} is " in done.stderr
    assert "which is a file" in done.stderr


def test_a_gate_that_is_missed_registers_nothing(tiny, type_, registry, trained):
    declared = tiny.root / "models/tiny/model.py"
    before = declared.read_text()
    declared.write_text(before.replace('{"auc": 0.6}', '{"auc": 0.999}'))
    try:
        done = type_("train", "tiny", "--trees", "3", check=False)
    finally:
        declared.write_text(before)
    assert done.returncode == 1
    assert "below its gate of 0.999" in done.stderr
    assert "was not registered" in done.stderr
    assert len(model_versions(registry, "tiny")) == 1


def test_output_registers_nothing_and_leaves_what_lies_there(type_, registry, trained, tmp_path):
    path = tmp_path / "folder" / "out.onnx"
    path.parent.mkdir()
    (path.parent / "out.native.bak").write_text("the user's own")
    said = json.loads(
        type_("train", "tiny", "--trees", "2", "--output", str(path), "--json").stdout
    )
    assert digest_of(path.read_bytes()) == said["digest"] != trained["digest"]
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "out.certificate.json",
        "out.native.bak",
        "out.native.ubj",
        "out.onnx",
    ]
    assert len(model_versions(registry, "tiny")) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "nobody"], 2, "there is no use case 'nobody' (known: "),
        (["data", "nobody"], 2, "there is no use case 'nobody'"),
        (["models", "nobody"], 2, "there is no use case 'nobody'"),
        (["train", "tiny", "--trees", "0"], 2, "--trees is 0"),
        (["train", "tiny", "--output", "model.txt"], 2, "next: --output model.onnx"),
        (["train", "tiny", "--output", "models"], 2, "next: --output models/tiny.onnx"),
        (["train", "tiny", "--output", "models/tiny/data.py/a.onnx"], 2, "a file, not a folder"),
        (["inspect", "models"], 2, "'models' is a folder"),
        (["inspect", "models/tiny/pipeline.toml"], 1, "not a readable ONNX model"),
        (["inspect", "missing.onnx"], 2, "is no file"),
        (["inspect", "tiny/77"], 1, "no version 77"),
        (["verify", "Makefile!"], 2, "is no file"),
    ],
)
def test_what_cannot_be(type_, trained, words, code, said):
    done = type_(*words, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert "next:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_registry_that_is_down(tiny, trained):
    for words in (["train", "tiny"], ["models", "tiny"], ["inspect", "tiny"]):
        done = tiny.type(*words, check=False, LOCKSTEP_MLFLOW="http://127.0.0.1:1")
        assert done.returncode == 1
        assert "http://127.0.0.1:1" in done.stderr
        assert "does not answer" in done.stderr


def test_nothing_is_left_in_the_folder_that_it_ran_in(tiny, trained):
    assert {path.name for path in Path(tiny.root).iterdir()} == {"home", "models", "schemas"}
