"""The control topic is optional: a hint makes the worker look, and nothing in it stops scoring."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.control import is_refresh
from tests.streaming.deployment import Deployment
from tests.streaming.nasty import Nasty, noise, produce
from tests.until import until


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (b'{"command": "refresh"}', True),
        (b' {"command":"refresh"}\n', True),
        (b'{"command": "stop"}', False),
        (b'{"command": "refresh", "more": 1}', False),
        (b'"refresh"', False),
        (b"refresh", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
        (b"9" * 5_000, False),
        (b"", False),
        (None, False),
    ],
)
def test_what_a_hint_is(value: bytes | None, is_one: bool) -> None:
    assert is_refresh(value) is is_one


def test_a_hint_makes_the_worker_look_at_once(
    deployment: Deployment, events: Any, approve_other: Any
) -> None:
    deployment.edit_pipeline("approval_poll_s = 1.0", "approval_poll_s = 3600.0")
    worker = deployment.worker().ready()
    digest = approve_other()

    def serves_it() -> bool:
        # Again and again: a hint that comes before the topic is listened to is lost.
        produce(
            deployment.settings.kafka,
            deployment.control,
            [Nasty(b'{"command": "refresh"}', codec="zstd")],
        )
        return bool(worker.serves("model_digest") == digest)

    until(serves_it, "the worker serves the newly approved digest")


def test_whatever_comes_through_the_control_topic_scoring_goes_on(
    deployment: Deployment, events: Any
) -> None:
    worker = deployment.worker().ready()
    nasty = [
        *(Nasty(b'{"command": "refresh"}', codec=codec) for codec in ("lz4", "zstd", "snappy")),
        Nasty(None),
        Nasty(b"\xff\xfe", key=b"\xff"),
        Nasty(b"[" * 10_000),
        Nasty(b'{"command": "\x1b[2J"}'),
        Nasty(b" " * 120_000_000, codec="zstd"),
        Nasty(noise(900_000), headers=[("", None)]),
        Nasty(b'{"command": "refresh"}', codec="gzip"),
    ]
    produce(deployment.settings.kafka, deployment.control, nasty)
    sent = events(50)
    deployment.send(sent)
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    for future in deployment.admin.delete_topics([deployment.control]).values():
        future.result()
    deployment.send(events(100)[50:])
    until(lambda: deployment.settled() == 100, "every event is settled")
    assert worker.drain() == 0
    assert len(deployment.rows()) == 100
