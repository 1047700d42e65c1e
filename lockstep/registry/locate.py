"""What a user means by a model: a file, a version of a use case, or its champion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lockstep.compiled_model.native_file import SUFFIXES
from lockstep.errors import ModelRefused, UsageError, printable
from lockstep.registry.mlflow import (
    CERTIFICATE_FILE,
    CHAMPION,
    NATIVE_FILE,
    NATIVE_TAG,
    ModelVersion,
    aliases,
    fetch_artifact,
    fetch_model,
    model_version,
    model_versions,
)
from lockstep.settings import Settings

__all__ = ["Located", "certificate_path", "locate", "native_path"]


_CERTIFICATE, _NATIVE = ".certificate.json", f".{NATIVE_FILE}"
_NATIVES = tuple(NATIVE_FILE + suffix for suffix in SUFFIXES)
_UNTAGGED = f"{NATIVE_FILE}.ubj"
"""What a version has that was registered before versions said it."""


@dataclass(frozen=True)
class Located:
    """A model's bytes and what lies beside them. `digest` is what they should have, if known."""

    name: str
    data: bytes
    digest: str | None
    certificate: bytes | None
    native: bytes | None


def certificate_path(model: Path) -> Path:
    """Where the certificate of a model in a file is."""
    return model.with_suffix(_CERTIFICATE)


def native_path(model: Path, suffix: str) -> Path:
    """Where the native model of a model in a file is, whose library gives files that suffix."""
    return model.with_suffix(_NATIVE + suffix)


def _beside(path: Path) -> Located:
    """The model in a file, and what was written beside it."""
    for ending in (_CERTIFICATE, *(_NATIVE + suffix for suffix in SUFFIXES)):
        model = path.with_name(f"{path.name.removesuffix(ending)}.onnx")
        if path.name.endswith(ending) and model.is_file():
            raise UsageError(f"{path} lies beside a compiled model, and is none", next=f"{model}")
    try:
        certificate = certificate_path(path)
        natives = [native_path(path, suffix) for suffix in SUFFIXES]
        native = [beside for beside in natives if beside.is_file()]
        return Located(
            str(path),
            path.read_bytes(),
            None,
            certificate.read_bytes() if certificate.is_file() else None,
            native[0].read_bytes() if native else None,
        )
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", next="name a file that you may read"
        ) from None


def locate(settings: Settings, text: str) -> Located:
    """FILE, USE_CASE/VERSION, or USE_CASE (its champion, else its newest version).

    Raises UsageError when there is nothing of that name, ModelRefused or Unreachable as the
    registry answers.
    """
    path = Path(text)
    if path.is_file():
        return _beside(path)
    if path.is_dir():
        raise UsageError(f"{text!r} is a folder", next=f"name a file in it: {path / 'MODEL.onnx'}")
    match = re.fullmatch(r"([a-z][a-z0-9_]*)(?:/([0-9]{1,9}))?", text)
    if not match:
        raise UsageError(
            f"{text!r} is no file, and does not read like USE_CASE or USE_CASE/VERSION",
            next="lockstep models USE_CASE (lists its versions)",
        )
    use_case, number = match[1], int(match[2]) if match[2] else None
    if number is None:
        number = aliases(settings, use_case).get(CHAMPION)
    if number is None:
        newest = model_versions(settings, use_case)[:1]
        if not newest:
            raise UsageError(
                f"{text!r} is no file, and the registry has no model of that name",
                next=f"lockstep train {use_case}, or name a file",
            )
        number = newest[0].version
    version = model_version(settings, use_case, number)
    return Located(
        f"{use_case}/{number}",
        fetch_model(settings, use_case, number, version.digest),
        version.digest,
        fetch_artifact(settings, use_case, number, CERTIFICATE_FILE),
        _registered_native(settings, use_case, version),
    )


def _registered_native(settings: Settings, use_case: str, version: ModelVersion) -> bytes:
    """Raises ModelRefused for a version whose tag names none: anybody may change a tag."""
    name = version.tags.get(NATIVE_TAG, _UNTAGGED)
    if name not in _NATIVES:
        raise ModelRefused(
            f"the tag {NATIVE_TAG} of version {version.version} of {use_case} is"
            f" {printable(name, 60)!r}, which names no native model: {', '.join(_NATIVES)}",
            next=f"set it to what `lockstep train` wrote there, {_UNTAGGED} for instance",
        )
    return fetch_artifact(settings, use_case, version.version, name)
