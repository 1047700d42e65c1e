"""Approving with a real registry: each thing that does not fit, by name."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from lockstep.compiled_model.certificate import Certificate
from lockstep.errors import Fenced, LockstepError, ModelRefused, Unreachable, UsageError
from lockstep.registry.approvals import Approval, append, history
from lockstep.registry.mlflow import (
    CHAMPION,
    DIGEST_TAG,
    aliases,
    set_alias,
)
from lockstep.registry.release import Release, approve_version
from lockstep.registry.rest import Rest
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from tests.house import House
from tests.registered import Registry
from tests.until import LIMIT_S


def test_approve_again_another_and_back(registry):
    first, second = registry.first.version, registry.second.version
    done = registry.approve(first, given_name="Ada", reason="the first")
    assert done.changed
    assert (done.approval.model_version, done.approval.digest) == (first, registry.first.digest)
    assert (done.approval.approver, done.approval.given_name) == ("lockstep_releaser", "Ada")
    assert done.approval.reason == "the first"
    certificate = done.approval.evidence["certificate"]
    assert (certificate["digest"], certificate["passed"]) == (registry.first.digest, True)
    assert "0 of" in certificate["says"]
    assert certificate["rows"] > 4000
    assert aliases(registry.settings, registry.use_case)[CHAMPION] == first
    approval, model = registry.serving()
    assert (approval, model.digest) == (done.approval, registry.first.digest)

    again = registry.approve(first, reason="once more")
    assert not again.changed
    assert again.approval == done.approval

    other = registry.approve(second)
    assert other.changed
    assert other.approval.sequence == done.approval.sequence + 1
    assert not other.champion.moved_by_hand
    assert aliases(registry.settings, registry.use_case)[CHAMPION] == second
    assert registry.serving()[1].digest == registry.second.digest

    back = registry.approve(first, reason="rollback")
    assert back.changed
    assert back.approval.sequence == other.approval.sequence + 1
    assert registry.serving()[1].digest == registry.first.digest
    with registry.house.connect("scorer") as conn:
        assert [a.reason for a in history(conn, 3)] == ["rollback", "a test", "the first"]


def test_the_same_bytes_under_another_number_serve_already(registry):
    registry.approve(registry.first.version)
    twin = registry.register(10)
    assert twin.version > registry.second.version
    done = registry.approve(twin.version)
    assert not done.changed
    assert done.approval.model_version == registry.first.version


def remove_alias(registry: Registry) -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{registry.settings.mlflow}/api/2.0/mlflow/registered-models/alias",
        json.dumps({"name": registry.use_case, "alias": CHAMPION}).encode(),
        {"Content-Type": "application/json"},
        method="DELETE",
    )
    urllib.request.urlopen(request).close()  # noqa: S310


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_an_alias_that_was_moved_by_hand_is_repaired_loudly(registry, how):
    first, second = registry.first.version, registry.second.version
    registry.approve(first)
    if how == "moved":
        set_alias(registry.settings, registry.use_case, CHAMPION, second)
    else:
        remove_alias(registry)
    # What serves does not follow the alias.
    assert registry.serving()[1].digest == registry.first.digest
    done = registry.approve(first)
    assert not done.changed
    assert done.champion.moved_by_hand
    assert done.champion.before == (second if how == "moved" else None)
    assert aliases(registry.settings, registry.use_case)[CHAMPION] == first
    assert not registry.approve(first).champion.moved_by_hand


def test_of_two_approvers_one_is_told(registry, monkeypatch):
    registry.approve(registry.first.version)
    third = registry.register(7)
    barrier = threading.Barrier(2)

    def appended_together(*given: Any, **more: Any) -> Approval:
        # Both have looked by now at what they want to follow.
        barrier.wait(LIMIT_S)
        return append(*given, **more)

    def one(version: int) -> Release | Fenced:
        try:
            return registry.approve(version)
        except Fenced as error:
            return error

    before = registry.sequence()
    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("lockstep.registry.release.append", appended_together)
        results = list(pool.map(one, (registry.second.version, third.version)))
    [told] = [r for r in results if isinstance(r, Fenced)]
    [won] = [r for r in results if isinstance(r, Release)]
    assert registry.sequence() == won.approval.sequence == before + 1
    assert "came first" in str(told)
    registry.approve(registry.first.version)


# ------------------------------------------------------------- what may not be approved


def refused(registry: Registry, version: int, match: str, settings: Settings | None = None) -> str:
    before = registry.sequence()
    with pytest.raises(ModelRefused, match=match) as error:
        registry.approve(version, settings)
    assert registry.sequence() == before
    assert error.value.next
    return str(error.value)


def test_a_version_that_does_not_exist(registry):
    text = refused(registry, 9999, "no version 9999")
    assert f"lockstep models {registry.use_case}" in text


def test_altered_bytes_although_the_cache_has_the_right_ones(registry, altered):
    path = registry.file(registry.second, "model.onnx")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    altered(path, bytes(data))
    assert registry.second.digest in refused(registry, registry.second.version, "^bytes: version")


@pytest.mark.parametrize("keep", [0, 1000])
def test_truncated_bytes(registry, altered, keep):
    path = registry.file(registry.second, "model.onnx")
    altered(path, path.read_bytes()[:keep])
    assert f"({keep:,} bytes)" in refused(registry, registry.second.version, "^bytes: version")


def test_bytes_that_are_gone(registry, tmp_path):
    version = registry.register(8)
    path = registry.file(version, "model.onnx")
    path.rename(tmp_path / "gone")
    refused(registry, version.version, "no model.onnx in version")


def test_a_digest_tag_that_was_changed(registry):
    version = registry.register(5)
    registry.tag(version.version, "f" * 64)
    assert "f" * 64 in refused(registry, version.version, "^bytes: version")


def test_a_version_without_a_digest_tag(registry):
    version = registry.register(5)
    registry.tag(version.version, "")
    refused(registry, version.version, "^digest: version .* carries no digest tag")


def test_an_onnx_file_that_no_compile_made(registry, altered):
    """Somebody puts a file there and adapts the tag: the file itself does not open."""
    version = registry.register(5)
    data = b"not a model"
    altered(registry.file(version, "model.onnx"), data)
    registry.tag(version.version, hashlib.sha256(data).hexdigest())
    refused(registry, version.version, "ONNX")


def test_a_certificate_of_another_model(registry, altered):
    other = registry.file(registry.first, "certificate.json").read_bytes()
    altered(registry.file(registry.second, "certificate.json"), other)
    text = refused(registry, registry.second.version, "^certificate: the one stored")
    assert registry.first.digest[:12] in text
    assert registry.second.digest[:12] in text


def test_a_certificate_that_does_not_hold(registry, altered):
    path = registry.file(registry.second, "certificate.json")
    certificate = Certificate.from_json(path.read_bytes())
    compared = {
        name: msgspec.structs.replace(found, margins_differ=int(name == "validation"))
        for name, found in certificate.compared.items()
    }
    altered(path, msgspec.structs.replace(certificate, compared=compared).to_json().encode())
    text = refused(registry, registry.second.version, r"^certificate: .* does not hold")
    assert "validation: 1 of" in text
    altered(path, msgspec.structs.replace(certificate, compared={}).to_json().encode())
    refused(registry, registry.second.version, r"does not hold \(no row was compared\)")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"digest": 1}', b"\xff\xfe"])
def test_a_certificate_that_is_none(registry, altered, content):
    altered(registry.file(registry.second, "certificate.json"), content)
    refused(registry, registry.second.version, r"^certificate: .* cannot be read")


def test_a_model_of_another_use_case(registry):
    """The registry's model of this name is a model of flights, whatever it is called."""
    other = f"other_{uuid.uuid4().hex[:8]}"
    migrate.upgrade(registry.settings, other)
    client = Rest(registry.settings.mlflow)
    client.post("registered-models/create", {"name": other})
    client.post(
        "model-versions/create",
        {
            "name": other,
            "source": registry.first.source,
            "run_id": registry.first.source.rstrip("/").split("/")[-2],
            "tags": [{"key": DIGEST_TAG, "value": registry.first.digest}],
        },
    )
    with (
        House(registry.settings, other).connect("releaser") as conn,
        pytest.raises(ModelRefused, match=f"^manifest: .* is a model of '{registry.use_case}'"),
    ):
        approve_version(registry.settings, other, 1, conn, reason="why")


def test_the_registry_is_down(registry, nowhere):
    before = registry.sequence()
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1 does not answer"):
        registry.approve(registry.second.version, nowhere)
    assert registry.sequence() == before


@pytest.fixture(params=[Unreachable, UsageError])
def read_only_registry(
    registry: Registry, request: pytest.FixtureRequest
) -> Iterator[tuple[str, type[LockstepError]]]:
    """The real registry behind a relay that passes questions on, and breaks off every change or
    shows a page instead; and what is raised then."""

    class Relay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                with urllib.request.urlopen(registry.settings.mlflow + self.path) as answer:  # noqa: S310
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.close_connection = True
            if request.param is UsageError:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<h1>Log in</h1>")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", request.param
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_registry_goes_down_before_the_alias(registry, read_only_registry):
    registry.approve(registry.first.version)
    before = registry.sequence()
    address, kind = read_only_registry
    broken = registry.settings.model_copy(update={"mlflow": address})
    with pytest.raises(kind, match="alias champion was not set") as error:
        registry.approve(registry.second.version, broken)
    assert f"approval {before + 1} counts" in str(error.value)
    assert registry.serving()[1].digest == registry.second.digest
    # Again: nothing to approve, and the alias follows.
    done = registry.approve(registry.second.version)
    assert not done.changed
    assert aliases(registry.settings, registry.use_case)[CHAMPION] == registry.second.version
