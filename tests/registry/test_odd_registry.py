"""What answers at the registry's address, and is no registry, is named, with what was got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockstep.errors import LockstepError, ModelRefused, Unreachable, UsageError
from lockstep.registry import rest
from lockstep.registry.locate import locate
from lockstep.registry.mlflow import (
    aliases,
    fetch_artifact,
    fetch_model,
    model_version,
    model_versions,
    set_alias,
)
from lockstep.settings import Settings
from tests.registry.odd_server import Answer, OddServer, as_json

LOGIN = "someone:s3cr3t@"
CALLS: dict[str, Callable[[Settings], Any]] = {
    "model_version": lambda settings: model_version(settings, "shop", 1),
    "model_versions": lambda settings: model_versions(settings, "shop"),
    "aliases": lambda settings: aliases(settings, "shop"),
    "set_alias": lambda settings: set_alias(settings, "shop", "champion", 1),
    "locate": lambda settings: locate(settings, "shop/1"),
}
GOOD = {"version": "1", "creation_timestamp": 1795577508749}


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as server:
        yield server


@pytest.fixture
def settings(server: OddServer, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, mlflow=f"http://{LOGIN}127.0.0.1:{server.port}")


HTML = Answer(b"<!doctype html><title>Log in</title>", headers={"Content-Type": "text/html"})
NO_REGISTRY = {
    "HTML": (HTML, "no JSON: 36 bytes, which begin with '<!doctype html>"),
    "nothing": (Answer(), "no JSON: nothing (0 bytes)"),
    "an empty list": (as_json([]), "in another shape (Expected `object`, got `array`"),
    "null": (as_json(None), "in another shape"),
    "a number": (Answer(b"7"), "in another shape"),
    "bytes": (Answer(bytes(range(256))), "no JSON: 256 bytes"),
    "compressed": (Answer(b"\x1f\x8b\x08\x00zipped"), "no JSON: 10 bytes"),
    "deep": (Answer(b"[" * 100_000), "100,000 bytes"),
    "another status": (Answer(b"{}", "204 No Content"), "HTTP 204"),
    "a redirect": (
        Answer(status="302 Found", headers={"Location": "http://u:p@elsewhere/in?token=t0k3n"}),
        "sends us to http://elsewhere/in",
    ),
    "a redirect of a request": (
        Answer(status="308 Permanent Redirect", headers={"Location": "https://elsewhere/"}),
        "sends us to https://elsewhere/",
    ),
    "a redirect to nowhere": (Answer(status="301 Moved"), "sends us to nowhere"),
    "another program's 404": (Answer(b"no such page", "404 Not Found"), "HTTP 404"),
    "another program's JSON 404": (as_json({"x": 1}, status="404 Not Found"), "HTTP 404"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NO_REGISTRY)
def test_what_is_no_registry_is_named_with_what_was_got(
    server: OddServer, settings: Settings, call: str, name: str
) -> None:
    server.answer, said = NO_REGISTRY[name]
    with pytest.raises(UsageError) as refused:
        CALLS[call](settings)
    text = str(refused.value)
    assert said in text
    assert f"http://127.0.0.1:{server.port}" in text
    assert "LOCKSTEP_MLFLOW" in text
    assert len(text) < 1500
    for secret in ("s3cr3t", "t0k3n", "u:p@"):
        assert secret not in text


PASSING = {
    "a server error": Answer(b"<h1>bad gateway</h1>", "502 Bad Gateway"),
    "unavailable": as_json({"message": "later"}, status="503 Service Unavailable"),
    "too many": Answer(b"", "429 Too Many Requests"),
    "broken off": Answer(b'{"model_ver', claimed=5000),
    "an error that breaks off": Answer(b"<h1>", "500 Error", claimed=5000),
    "closed at once": Answer(raw=b""),
    "no HTTP": Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "chunks that break off": Answer(
        raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"
    ),
    "chunks that are none": Answer(
        raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n"
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_said_to_pass(
    server: OddServer, settings: Settings, call: str, name: str
) -> None:
    server.answer = PASSING[name]
    with pytest.raises(Unreachable, match=rf"127.0.0.1:{server.port} does not answer") as passing:
        CALLS[call](settings)
    assert "s3cr3t" not in str(passing.value)


SHAPES = {
    "no version": {"model_version": {"creation_timestamp": 1}},
    "no time": {"model_version": {"version": 1}},
    "a version of text": {"model_version": {**GOOD, "version": "newest"}},
    "version 0": {"model_version": {**GOOD, "version": 0}},
    "tags that are none": {"model_version": {**GOOD, "tags": {"a": "b"}}},
    "a tag without a key": {"model_version": {**GOOD, "tags": [{"value": "b"}]}},
    "a source of numbers": {"model_version": {**GOOD, "source": 7}},
    "a time beyond time": {"model_version": {**GOOD, "creation_timestamp": 2**53}},
    "another word": {"modelVersion": GOOD},
}


@pytest.mark.parametrize("name", SHAPES)
def test_json_of_another_shape_is_named(server: OddServer, settings: Settings, name: str) -> None:
    server.answer = as_json(SHAPES[name])
    with pytest.raises(UsageError, match="no model registry"):
        model_version(settings, "shop", 1)


def test_the_good_shape_is_taken(server: OddServer, settings: Settings) -> None:
    """What the wrong shapes are compared with; what is empty may be left out."""
    server.answer = as_json({"model_version": GOOD})
    found = model_version(settings, "shop", 1)
    assert (found.version, found.digest, found.tags) == (1, "", {})
    server.answer = as_json({})
    assert model_versions(settings, "shop") == []


def test_the_same_page_again_and_again_is_no_list(server: OddServer, settings: Settings) -> None:
    server.answer = as_json({"model_versions": [GOOD], "next_page_token": "more"})
    with pytest.raises(UsageError, match="the same page again and again"):
        model_versions(settings, "shop")


def test_a_file_that_a_version_lacks_is_told_from_a_server_that_lacks_everything(
    server: OddServer, settings: Settings
) -> None:
    server.answer = Answer(b"<h1>Not Found</h1>", "404 Not Found")
    with pytest.raises(UsageError, match="no model registry"):
        fetch_artifact(settings, "shop", 1, "model.onnx")
    server.paths["/version"] = Answer(b"3.17.2")
    with pytest.raises(ModelRefused, match=r"no model\.onnx in version 1"):
        fetch_artifact(settings, "shop", 1, "model.onnx")


def test_an_artifact_that_breaks_off_passes_and_other_bytes_do_not(
    server: OddServer, settings: Settings
) -> None:
    server.answer = Answer(b"onnx" * 1000, claimed=5000)
    with pytest.raises(Unreachable, match="broke off: 4,000 bytes came, 1,000 are missing"):
        fetch_model(settings, "shop", 1, "a" * 64)
    server.answer = HTML
    with pytest.raises(ModelRefused, match="has sha256"):
        fetch_model(settings, "shop", 1, "a" * 64)
    assert not list((settings.home / "models").glob("*")), "nothing of it is kept"


def test_an_answer_that_never_ends_is_given_up(
    server: OddServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_WHOLE_S", 0.2)
    server.answer = Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n{", drips=True)
    with pytest.raises(Unreachable, match="the answer has no end"):
        model_version(settings, "shop", 1)
    monkeypatch.undo()
    monkeypatch.setattr(rest, "_LARGEST", 1000)
    with pytest.raises(Unreachable, match="larger than 1,000 bytes"):
        model_version(settings, "shop", 1)


def test_an_answer_that_does_not_come_is_given_up(
    server: OddServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_TIMEOUT_S", 0.2)
    for some in (b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"):
        server.answer = Answer(raw=some, holds=True)
        with pytest.raises(Unreachable, match="timed out"):
            model_version(settings, "shop", 1)


def test_user_and_password_go_to_no_other_address(server: OddServer, settings: Settings) -> None:
    with OddServer() as elsewhere:
        elsewhere.answer = as_json({"model_version": GOOD})
        server.answer = Answer(status="302 Found", headers={"Location": elsewhere.url})
        with pytest.raises(LockstepError):
            model_version(settings, "shop", 1)
        assert server.asked
        assert elsewhere.asked == []
