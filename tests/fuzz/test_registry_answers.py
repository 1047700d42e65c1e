"""The registry's answers as an entrance: each is taken, refused with a reason, or waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import strategies as st

from lockstep.addresses import http_fault
from lockstep.errors import LockstepError, Transient
from lockstep.registry import rest
from lockstep.registry.mlflow import ModelVersion
from lockstep.settings import Settings
from tests.fuzz.amount import AMOUNTS, fuzz
from tests.registry.odd_server import Answer, OddServer
from tests.registry.test_odd_registry import CALLS

_WORDS = st.sampled_from(
    [
        *("model_version", "model_versions", "registered_model", "aliases", "tags", "version"),
        *("creation_timestamp", "next_page_token", "key", "value", "alias", "source", "message"),
        *("error_code", "RESOURCE_DOES_NOT_EXIST", "1", "-1", "lockstep.digest", "\x1b[31m", ""),
    ]
)
_PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), _WORDS, st.text(max_size=9)
)
_DOCUMENTS = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=4)
    ),
    max_leaves=12,
)
_VERSION = st.fixed_dictionaries(
    {"version": _PLAIN, "creation_timestamp": _PLAIN},
    optional={"tags": _DOCUMENTS, "source": _PLAIN},
)
_NEARLY = st.one_of(
    st.builds(lambda version: {"model_version": version}, _VERSION),
    st.builds(lambda some: {"model_versions": some}, st.lists(_VERSION, max_size=3)),
    st.builds(lambda some: {"registered_model": {"aliases": some}}, _DOCUMENTS),
    st.builds(lambda code: {"error_code": code, "message": "m"}, _WORDS),
)
_BODIES = st.one_of(
    st.one_of(_NEARLY, _DOCUMENTS).map(lambda found: json.dumps(found).encode()),
    st.binary(max_size=60),
    st.just(b"<html>" + b"x" * 5000),
)
_STATUS = st.one_of(
    st.sampled_from(["200 OK"] * 4 + ["404 Not Found", "302 Found", "500 Error", "401 No"]),
    st.builds("{} x".format, st.integers(200, 999)),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=12),
)
_HEADER = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
_ANSWERS = st.one_of(
    st.builds(
        Answer,
        body=_BODIES,
        status=_STATUS,
        headers=st.dictionaries(
            st.sampled_from(["Location", "Content-Type", "Content-Encoding", "X"]), _HEADER
        ),
        claimed=st.one_of(st.none(), st.none(), st.integers(-5, 10_000)),
    ),
    st.builds(Answer, raw=st.binary(max_size=100)),
    st.builds(
        lambda tail: Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + tail),
        st.binary(max_size=40),
    ),
)


@AMOUNTS
def test_any_answer_is_taken_refused_or_waited_for(
    amount: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A length that is claimed and does not come ends with the connection, which we close.
    monkeypatch.setattr(rest, "_TIMEOUT_S", 5.0)
    with OddServer() as server:
        settings = Settings(home=tmp_path, mlflow=f"http://someone:s3cr3t@127.0.0.1:{server.port}")

        def check(answer: Answer, call: str) -> None:
            server.answer = answer
            refused = None
            try:
                _require_taken(CALLS[call](settings))
            except LockstepError as error:
                refused = error
            if refused is not None:
                text = str(refused)
                assert refused.next
                assert "s3cr3t" not in text
                assert len(text) < 2000
                assert text.replace("\n", "").isprintable()
                if isinstance(refused, Transient):
                    assert "does not answer" in text

        fuzz(amount, check, answer=_ANSWERS, call=st.sampled_from(list(CALLS)))


def _require_taken(found: Any) -> None:
    for version in found if isinstance(found, list) else [found]:
        if isinstance(version, ModelVersion):
            assert version.version > 0
            assert all(isinstance(text, str) for text in version.tags.values())


@AMOUNTS
def test_any_address_is_taken_or_refused_without_a_word_of_it(amount: int) -> None:
    """What the one rule takes, this client takes too, and shows without its login."""
    parts = st.sampled_from(
        ["http", "https", "://", ":", "@", "/", "?", "[", "]", "s3cr3t", "é", "h", ".", "%2F", "1"]
    )
    addresses = st.one_of(
        st.text(max_size=30),
        st.lists(parts, max_size=8).map("".join),
        st.lists(parts, max_size=8).map(lambda some: "http://" + "".join(some)),
        st.builds("http://{}:s3cr3t@{}".format, st.text(max_size=5), st.text(max_size=90)),
        st.just("http://h:" + "9" * 99),
        st.just("http://" + "x" * 99),
    )
    taken = 0

    def check(address: str) -> None:
        nonlocal taken
        if fault := http_fault(address):
            assert "s3cr3t" not in fault
            return
        taken += 1
        server = rest.Rest(address)
        assert server.url.startswith(("http://", "https://"))
        assert "@" not in server.url
        # As it is sent: neither the name's nor the path's code fails on it.
        parted = urlsplit(server.url)
        assert (parted.hostname or "").encode("idna")
        assert parted.path.isascii()

    fuzz(amount, check, address=addresses)
    assert taken > amount / 100
