"""Model versions in MLflow, read without importing mlflow, and their bytes, by digest.

A version is read by name and number, but its bytes are trusted by their sha256 only.
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from lockstep.compiled_model.opening import digest_of
from lockstep.errors import ModelRefused
from lockstep.registry.rest import Heard, NotFound, Rest, unheard
from lockstep.settings import Settings

__all__ = [
    "CERTIFICATE_FILE",
    "CHAMPION",
    "DIGEST_TAG",
    "FINGERPRINT_TAG",
    "MODEL_FILE",
    "NATIVE_FILE",
    "NATIVE_TAG",
    "ModelVersion",
    "aliases",
    "fetch_artifact",
    "fetch_model",
    "keep_model",
    "model_version",
    "model_versions",
    "set_alias",
]

_Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Moment = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
CHAMPION = "champion"
DIGEST_TAG = "lockstep.digest"
FINGERPRINT_TAG = "lockstep.fingerprint"
"""Of everything that a training reads: data, settings, code and versions."""
MODEL_FILE = "model.onnx"
CERTIFICATE_FILE = "certificate.json"
NATIVE_FILE = "native"
"""And a suffix of its library, which the version's tag NATIVE_TAG says."""
NATIVE_TAG = "lockstep.native"

log = logging.getLogger(__name__)


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _Version(msgspec.Struct):
    """MLflow's answers leave out what is empty, and write some numbers as strings."""

    version: _Number
    creation_timestamp: _Moment
    source: str = ""
    tags: list[_Tag] = []


class _OneVersion(msgspec.Struct):
    model_version: _Version


class _Versions(msgspec.Struct):
    model_versions: list[_Version] = []
    next_page_token: str | None = None


class _Alias(msgspec.Struct):
    alias: str
    version: _Number


class _Model(msgspec.Struct):
    aliases: list[_Alias] = []


class _OneModel(msgspec.Struct):
    registered_model: _Model


@dataclass(frozen=True)
class ModelVersion:
    """One version of a use case's model, as the registry describes it."""

    version: int
    digest: str
    """Empty when the version carries no digest tag: then it was not registered by Lockstep."""
    source: str
    created_at: datetime
    tags: dict[str, str] = field(default_factory=dict)


def model_version(
    settings: Settings, use_case: str, version: int, heard: Heard = unheard
) -> ModelVersion:
    """One version. Raises ModelRefused when there is none, Unreachable without a registry, and
    UsageError where something else answers."""
    server = Rest(settings.mlflow, heard)
    try:
        found = server.get(
            "model-versions/get", {"name": use_case, "version": version}, _OneVersion
        )
    except NotFound:
        raise _absent(use_case, f"version {version}") from None
    return _version(server, found.model_version)


def model_versions(settings: Settings, use_case: str) -> list[ModelVersion]:
    """All versions, newest first; none for a use case that nobody has registered a model of."""
    server = Rest(settings.mlflow)
    found: list[ModelVersion] = []
    query: dict[str, str | int] = {"filter": f"name='{use_case}'", "max_results": 200}
    tokens = {""}
    while True:
        page = server.get("model-versions/search", query, _Versions)
        found += [_version(server, entry) for entry in page.model_versions]
        if not page.next_page_token:
            return sorted(found, key=lambda v: v.version, reverse=True)
        if page.next_page_token in tokens:
            raise server.refuse("model-versions/search gives the same page again and again")
        tokens.add(page.next_page_token)
        query["page_token"] = page.next_page_token


def aliases(settings: Settings, use_case: str) -> dict[str, int]:
    """Alias -> version; empty for a use case that the registry does not know."""
    try:
        found = Rest(settings.mlflow).get("registered-models/get", {"name": use_case}, _OneModel)
    except NotFound:
        return {}
    return {entry.alias: entry.version for entry in found.registered_model.aliases}


def set_alias(settings: Settings, use_case: str, alias: str, version: int) -> None:
    """Point `alias` at a version. Raises ModelRefused when there is no such version."""
    try:
        Rest(settings.mlflow).post(
            "registered-models/alias",
            {"name": use_case, "alias": alias, "version": str(version)},
        )
    except NotFound:
        raise _absent(use_case, f"version {version}") from None


def fetch_artifact(
    settings: Settings, use_case: str, version: int, path: str, heard: Heard = unheard
) -> bytes:
    """A file that was registered with a version. Raises ModelRefused when it has none."""
    try:
        return Rest(settings.mlflow, heard).read(
            "/model-versions/get-artifact",
            {"name": use_case, "version": version, "path": path},
        )
    except NotFound:
        raise _absent(use_case, f"{path} in version {version}") from None


def fetch_model(
    settings: Settings, use_case: str, version: int, digest: str, heard: Heard = unheard
) -> bytes:
    """The bytes with that sha256: from the cache in home/models, else from the registry.

    Raises ModelRefused when the registry's bytes have another digest, or it has no such version.
    """
    cached = settings.home / "models" / f"{digest}.onnx"
    try:
        data = cached.read_bytes()
        if digest_of(data) == digest:
            return data
        log.warning("%s was damaged and is fetched again", cached)
    except OSError:
        pass  # not there yet
    data = fetch_artifact(settings, use_case, version, MODEL_FILE, heard)
    found = digest_of(data)
    if found != digest:
        raise ModelRefused(
            f"bytes: version {version} of {use_case} has sha256 {found} in the registry"
            f" ({len(data):,} bytes), but {digest} was asked for",
            left="nothing: the bytes were not kept",
            next=f"lockstep train {use_case} --again, then approve the new version",
        )
    keep_model(cached, data)
    return data


def keep_model(path: Path, data: bytes) -> None:
    """Put bytes into the cache by one rename; a cache that cannot be written is no cache."""
    part = path.with_name(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, path)  # noqa: PTH105  # said to be atomic
    except OSError as error:
        log.warning("the model is not cached in %s: %s", path.parent, error)
        with suppress(OSError):
            part.unlink()


def _version(server: Rest, entry: _Version) -> ModelVersion:
    tags = {tag.key: tag.value for tag in entry.tags}
    try:
        created_at = datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise server.refuse(
            f"version {entry.version} was created at {entry.creation_timestamp} ms, which is no"
            " time"
        ) from None
    return ModelVersion(
        version=entry.version,
        digest=tags.get(DIGEST_TAG, ""),
        source=entry.source,
        created_at=created_at,
        tags=tags,
    )


def _absent(use_case: str, what: str) -> ModelRefused:
    return ModelRefused(
        f"the registry has no {what} of {use_case}",
        next=f"lockstep models {use_case} (lists what it has)",
    )
