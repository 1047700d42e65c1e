"""Opening what is approved, with a real registry: each thing that does not fit, by name."""

from __future__ import annotations

import uuid

import pytest

from lockstep.errors import ModelRefused, Unreachable
from lockstep.registry.approved import approved_model
from lockstep.registry.mlflow import (
    model_version,
)
from lockstep.warehouse import migrate
from tests.house import House


def test_nothing_is_approved(registry):
    bare = f"bare_{uuid.uuid4().hex[:8]}"
    migrate.upgrade(registry.settings, bare)
    with (
        House(registry.settings, bare).connect() as conn,
        pytest.raises(ModelRefused, match=r"^approval: no model of bare_") as error,
    ):
        approved_model(registry.settings, bare, conn)
    assert f"lockstep approve {bare} VERSION" in str(error.value)


def test_an_approval_of_a_digest_that_the_version_does_not_have(registry):
    registry.house.approve("e" * 64, version=registry.first.version)
    with pytest.raises(ModelRefused, match=r"^digest: approval .* names eeeeeeeeeeee") as error:
        registry.serving()
    assert registry.first.digest[:12] in str(error.value)


def test_an_approval_of_a_version_that_the_registry_lost(registry):
    registry.house.approve("e" * 64, version=9999)
    with pytest.raises(ModelRefused, match="no version 9999"):
        registry.serving()


def test_a_tag_that_was_changed_after_the_approval(registry):
    version = registry.register(6)
    registry.approve(version.version)
    registry.tag(version.version, "f" * 64)
    with pytest.raises(ModelRefused, match=r"^digest: .* the registry's tag says ffffffffffff"):
        registry.serving()


def test_bytes_that_were_changed_after_the_approval(registry, elsewhere, altered):
    registry.approve(registry.second.version)
    path = registry.file(registry.second, "model.onnx")
    altered(path, path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelRefused, match=r"^bytes: version"):
        registry.serving(elsewhere)
    assert not list(elsewhere.home.rglob("*.onnx"))
    # Where the approved bytes are cached they serve on.
    assert registry.serving()[1].digest == registry.second.digest


def test_a_damaged_cache_is_fetched_again(registry, elsewhere):
    registry.approve(registry.second.version)
    registry.serving(elsewhere)
    (cached,) = elsewhere.home.rglob("*.onnx")
    cached.write_bytes(cached.read_bytes()[:500])
    assert registry.serving(elsewhere)[1].digest == registry.second.digest
    assert len(cached.read_bytes()) == len(registry.serving(elsewhere)[1].data)


def test_the_registry_is_down_and_the_cache_has_it(registry, nowhere, caplog):
    registry.approve(registry.second.version)
    assert registry.serving(nowhere)[1].digest == registry.second.digest
    assert "the registry was not asked" in caplog.text


def test_the_registry_is_down_and_the_cache_is_empty(registry, nowhere, tmp_path):
    registry.approve(registry.second.version)
    empty = nowhere.model_copy(update={"home": tmp_path / "empty"})
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1 does not answer"):
        registry.serving(empty)


def test_model_version_reads_back_what_was_registered(registry):
    assert (
        model_version(registry.settings, registry.use_case, registry.first.version)
        == registry.first
    )
