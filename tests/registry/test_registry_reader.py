"""Reading versions and bytes from a real MLflow server, without the mlflow package."""

from __future__ import annotations

import json
import logging
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lockstep.compiled_model import digest_of, open_model
from lockstep.compiled_model.native_file import NativeFile
from lockstep.errors import ModelRefused, Unreachable, UsageError
from lockstep.local.home import free_port
from lockstep.registry.locate import locate
from lockstep.registry.mlflow import (
    CERTIFICATE_FILE,
    CHAMPION,
    FINGERPRINT_TAG,
    MODEL_FILE,
    NATIVE_FILE,
    NATIVE_TAG,
    ModelVersion,
    aliases,
    fetch_artifact,
    fetch_model,
    model_version,
    model_versions,
    set_alias,
)
from lockstep.registry.register import register
from lockstep.registry.rest import Rest
from lockstep.settings import Settings
from tests.small_model import small_compiled

NATIVE = b"the native booster"
EMPTY = NativeFile(".ubj", b"")


@pytest.fixture(scope="module")
def use_case() -> str:
    return f"reader_{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def registry(mlflow_server, tmp_path_factory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), mlflow=mlflow_server.url)


@pytest.fixture(scope="module")
def versions(registry: Settings, use_case: str) -> list[ModelVersion]:
    """Two versions, as `lockstep train` registers them."""
    return [
        register(
            registry,
            *_named(use_case, trees),
            native=NativeFile(".ubj", NATIVE),
            fingerprint=f"fingerprint of {trees}",
        )
        for trees in (4, 6)
    ]


def _named(use_case: str, trees: int):
    """A small model under another name; its bytes are the small model's."""
    import dataclasses

    compiled = small_compiled(trees)
    manifest = msgspec.structs.replace(compiled.model.manifest, use_case=use_case)
    return dataclasses.replace(compiled.model, manifest=manifest), compiled.certificate


@pytest.fixture
def cold(registry: Settings, tmp_path: Path) -> Settings:
    """The same registry, with an empty cache."""
    return registry.model_copy(update={"home": tmp_path})


def test_versions_are_numbered_and_tagged(registry, use_case, versions):
    first, second = versions
    assert (first.version, second.version) == (1, 2)
    assert first.digest == small_compiled(4).model.digest
    assert model_version(registry, use_case, 2) == second
    assert second.tags[FINGERPRINT_TAG] == "fingerprint of 6"
    assert "0 of 44,000 margins differ" in second.tags["lockstep.certificate"]
    assert "until" in second.tags["lockstep.trained"]
    assert abs(datetime.now(UTC) - second.created_at) < timedelta(hours=1)
    assert model_versions(registry, use_case) == [second, first]


def test_a_run_keeps_what_the_version_was_made_of(registry, use_case, versions):
    assert fetch_artifact(registry, use_case, 1, NATIVE_FILE + ".ubj") == NATIVE
    certificate = json.loads(fetch_artifact(registry, use_case, 1, CERTIFICATE_FILE))
    assert certificate["digest"] == versions[0].digest
    assert digest_of(fetch_artifact(registry, use_case, 1, MODEL_FILE)) == versions[0].digest


def test_bytes_come_by_digest_and_are_cached(cold, use_case, versions):
    digest = versions[0].digest
    data = fetch_model(cold, use_case, 1, digest)
    assert open_model(data, digest=digest).digest == digest
    assert [path.name for path in (cold.home / "models").iterdir()] == [f"{digest}.onnx"]
    gone = cold.model_copy(update={"mlflow": "http://127.0.0.1:1"})
    assert fetch_model(gone, use_case, 1, digest) == data


def test_a_damaged_cache_is_fetched_again(cold, use_case, versions, caplog):
    digest = versions[0].digest
    data = fetch_model(cold, use_case, 1, digest)
    cached = cold.home / "models" / f"{digest}.onnx"
    cached.write_bytes(data[:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        assert fetch_model(cold, use_case, 1, digest) == data
    assert "was damaged" in caplog.text
    assert cached.read_bytes() == data


def test_a_cache_that_cannot_be_written_is_no_cache(cold, use_case, versions, caplog):
    (cold.home / "models").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        data = fetch_model(cold, use_case, 1, versions[0].digest)
    assert digest_of(data) == versions[0].digest
    assert "not cached" in caplog.text


def test_other_bytes_than_asked_for_are_refused_and_not_kept(cold, use_case, versions):
    with pytest.raises(ModelRefused) as refused:
        fetch_model(cold, use_case, 2, versions[0].digest)
    said = str(refused.value)
    assert versions[0].digest in said
    assert versions[1].digest in said
    assert not list((cold.home / "models").glob("*"))


def test_what_the_registry_does_not_have(registry, use_case, versions):
    with pytest.raises(ModelRefused, match="no version 99"):
        model_version(registry, use_case, 99)
    with pytest.raises(ModelRefused, match=f"no {MODEL_FILE} in version 99"):
        fetch_model(registry, use_case, 99, "0" * 64)
    with pytest.raises(ModelRefused, match=r"no nothing\.txt in version 1"):
        fetch_artifact(registry, use_case, 1, "nothing.txt")
    with pytest.raises(ModelRefused, match="no version 99"):
        set_alias(registry, use_case, CHAMPION, 99)
    assert model_versions(registry, "nobody") == []
    assert aliases(registry, "nobody") == {}


def test_aliases(registry, use_case, versions):
    for version in (2, 1):
        set_alias(registry, use_case, "tried", version)
        assert aliases(registry, use_case)["tried"] == version


def test_a_version_that_someone_else_made_has_no_digest(registry, use_case, versions):
    server = Rest(registry.mlflow)
    found = server.get("model-versions/get", {"name": use_case, "version": 1}, dict)
    first = found["model_version"]
    made = server.post(
        "model-versions/create",
        {"name": use_case, "source": first["source"], "run_id": first["run_id"]},
    )
    number = int(made["model_version"]["version"])
    assert model_version(registry, use_case, number).digest == ""


def test_a_request_that_it_refuses(registry, use_case, versions):
    with pytest.raises(UsageError, match=r"refuses: HTTP 400 .*run_id"):
        Rest(registry.mlflow).post(
            "model-versions/create", {"name": use_case, "source": versions[0].source}
        )


@pytest.mark.parametrize("tag", ["", "native", "../native.ubj", "model.onnx", "native.bak"])
def test_a_tag_that_names_no_native_model_is_refused(registry, use_case, versions, tag):
    def set_tag(value: str) -> None:
        Rest(registry.mlflow).post(
            "model-versions/set-tag",
            {"name": use_case, "version": "1", "key": NATIVE_TAG, "value": value},
        )

    set_tag(tag)
    try:
        with pytest.raises(ModelRefused, match=r"the tag lockstep\.native of version 1 .* is '"):
            locate(registry, f"{use_case}/1")
    finally:
        set_tag(NATIVE_FILE + ".ubj")
    assert locate(registry, f"{use_case}/1").native == NATIVE


def test_a_version_that_does_not_say_its_native_model_has_one_all_the_same(
    registry, use_case, versions
):
    """Versions were registered before they said it."""
    about = {"name": use_case, "version": "1", "key": NATIVE_TAG}
    asked = urllib.request.Request(  # noqa: S310
        f"{registry.mlflow}/api/2.0/mlflow/model-versions/delete-tag",
        json.dumps(about).encode(),
        {"Content-Type": "application/json"},
        method="DELETE",
    )
    urllib.request.urlopen(asked).close()  # noqa: S310
    try:
        assert NATIVE_TAG not in model_version(registry, use_case, 1).tags
        assert locate(registry, f"{use_case}/1").native == NATIVE
    finally:
        Rest(registry.mlflow).post(
            "model-versions/set-tag", {**about, "value": NATIVE_FILE + ".ubj"}
        )


def test_nothing_but_the_native_model_is_read_beside_a_file(registry, use_case, versions, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(locate(registry, f"{use_case}/1").data)
    (tmp_path / "m.native.bak").write_bytes(b"somebody's own")
    assert locate(registry, str(path)).native is None
    (tmp_path / "m.native.ubj").write_bytes(NATIVE)
    assert locate(registry, str(path)).native == NATIVE


def test_locate(registry, use_case, versions, tmp_path):
    newest = model_versions(registry, use_case)[0].version
    if newest == 2:
        assert locate(registry, use_case).name == f"{use_case}/2"
    found = locate(registry, f"{use_case}/1")
    assert (found.digest, found.native) == (versions[0].digest, NATIVE)
    set_alias(registry, use_case, CHAMPION, 1)
    assert locate(registry, use_case).digest == versions[0].digest
    path = tmp_path / "model.onnx"
    path.write_bytes(found.data)
    alone = locate(registry, str(path))
    assert (alone.data, alone.digest, alone.certificate) == (found.data, None, None)
    for text, said in (
        (str(tmp_path / "none.onnx"), "is no file, and does not read like"),
        ("nobody", "is no file, and the registry has no model of that name"),
    ):
        with pytest.raises(UsageError, match=said):
            locate(registry, text)


def test_a_certificate_of_another_model_is_not_registered(registry, use_case):
    model, _ = _named(use_case, 4)
    with pytest.raises(ModelRefused, match="the certificate is of"):
        register(
            registry,
            model,
            small_compiled(6).certificate,
            native=NativeFile(".ubj", b""),
            fingerprint="",
        )


@pytest.fixture
def nobody_listens(tmp_path) -> Settings:
    return Settings(home=tmp_path, mlflow=f"http://someone:s3cret@127.0.0.1:{free_port()}")


def test_a_registry_that_is_down(nobody_listens, use_case):
    with pytest.raises(Unreachable) as refused:
        model_version(nobody_listens, use_case, 1)
    said = str(refused.value)
    assert nobody_listens.mlflow.rpartition("@")[2] in said
    assert "s3cret" not in said
    assert "lockstep up" in said


def test_registering_while_it_is_down(nobody_listens, use_case):
    model, certificate = _named(use_case, 4)
    with pytest.raises(Unreachable) as refused:
        register(nobody_listens, model, certificate, native=EMPTY, fingerprint="")
    assert "does not answer" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(registry, use_case, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert aliases(registry, use_case) is not None
