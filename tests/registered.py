"""A use case with two versions in a real registry, and ways to spoil them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lockstep.compiled_model.native_file import NativeFile
from lockstep.registry.approvals import current
from lockstep.registry.approved import approved_model
from lockstep.registry.mlflow import (
    CHAMPION,
    DIGEST_TAG,
    ModelVersion,
    set_alias,
)
from lockstep.registry.register import register
from lockstep.registry.release import Release, approve_version
from lockstep.registry.rest import Rest
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from tests.house import House
from tests.small_model import small_compiled


class Registry:
    """A use case of a test's own, in the warehouse and in the registry, with two versions."""

    def __init__(self, settings: Settings, use_case: str) -> None:
        self.settings, self.use_case = settings, use_case
        self.house = House(settings, use_case)
        self.first = self.register(10)
        self.second = self.register(5)

    def register(self, trees: int) -> ModelVersion:
        """Register a model of that many trees; the same number gives the same bytes."""
        made = small_compiled(trees, self.use_case)
        return register(
            self.settings,
            made.model,
            made.certificate,
            native=NativeFile(".ubj", b"x"),
            fingerprint="f",
        )

    def approve(self, version: int, settings: Settings | None = None, **given: str) -> Release:
        with self.house.connect("releaser") as conn:
            return approve_version(
                settings or self.settings,
                self.use_case,
                version,
                conn,
                **{"reason": "a test", **given},
            )

    def serving(self, settings: Settings | None = None):
        with self.house.connect("scorer") as conn:
            return approved_model(settings or self.settings, self.use_case, conn)

    def sequence(self) -> int:
        with self.house.connect("scorer") as conn:
            newest = current(conn)
        return newest.sequence if newest else 0

    def file(self, version: ModelVersion, name: str) -> Path:
        """Where the server keeps an artifact."""
        run = version.source.rstrip("/").split("/")[-2]
        (path,) = (self.settings.home / "mlflow").rglob(f"{run}/artifacts/{name}")
        return path

    def tag(self, version: int, value: str) -> None:
        Rest(self.settings.mlflow).post(
            "model-versions/set-tag",
            {"name": self.use_case, "version": str(version), "key": DIGEST_TAG, "value": value},
        )


SHARED = f"release_{uuid.uuid4().hex[:8]}"
"""Models are compiled for one use case in this file; each test approves versions of its own."""


@pytest.fixture(scope="module")
def registered(stack_settings: Settings) -> Registry:
    migrate.upgrade(stack_settings, SHARED)
    return Registry(stack_settings, SHARED)


@pytest.fixture
def registry(registered: Registry) -> Iterator[Registry]:
    """Two versions, of which the second serves."""
    second = registered.second
    registered.house.approve(second.digest, second.version)
    set_alias(registered.settings, SHARED, CHAMPION, second.version)
    yield registered
    for conn in registered.house.opened:
        conn.close()


@pytest.fixture
def elsewhere(registry: Registry, tmp_path: Path) -> Settings:
    """Another machine: the same services, an empty cache."""
    return registry.settings.model_copy(update={"home": tmp_path / "elsewhere"})


@pytest.fixture
def nowhere(registry: Registry) -> Settings:
    """The same machine while the registry is down."""
    return registry.settings.model_copy(update={"mlflow": "http://127.0.0.1:1"})


@pytest.fixture
def altered() -> Iterator[Callable[[Path, bytes], None]]:
    """Changes a file until the end of the test."""
    before: dict[Path, bytes] = {}

    def alter(path: Path, content: bytes) -> None:
        before.setdefault(path, path.read_bytes())
        path.write_bytes(content)

    yield alter
    for path, content in before.items():
        path.write_bytes(content)
