"""What the follower of approvals says of itself, whatever it meets; what serves, serves on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lockstep.kafka.reader import Reader
from lockstep.warehouse.connect import connect
from streaming import model_refresh
from streaming.model_refresh import ModelRefresher
from streaming.status import Status
from tests.streaming.deployment import Deployment
from tests.until import until


@pytest.fixture
def following(deployment: Deployment) -> Iterator[ModelRefresher]:
    stop = threading.Event()
    deployment.edit_pipeline("approval_poll_s = 1.0", "approval_poll_s = 0.1")
    made = ModelRefresher(
        deployment.settings,
        deployment.pipeline,
        Reader(deployment.settings.kafka),
        Status(deployment.use_case),
        stop,
    )
    made.open()
    made.start()
    yield made
    stop.set()
    made.join()


def test_a_warehouse_that_refuses_for_good_is_said(
    deployment: Deployment, following: ModelRefresher, caplog: pytest.LogCaptureFixture
) -> None:
    """Its right to read approvals is taken away: an idle worker notices, and logs it once."""
    with connect(deployment.settings, "owner", deployment.use_case) as owner:
        owner.execute("revoke select on approvals from flight_delay_scorer")
        try:
            conditions = following._status.conditions
            until(
                lambda: "permission denied" in (conditions["warehouse"] or ""),
                "a condition says so",
            )
        finally:
            owner.execute("grant select on approvals to flight_delay_scorer")
    until(lambda: conditions["warehouse"] is None, "it holds again")
    assert following.serving
    said = [r for r in caplog.records if "permission denied" in r.getMessage()]
    assert len(said) == 1


def test_what_nobody_foresaw_is_said_and_logged_once(
    following: ModelRefresher,
    approve_other: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = model_refresh.approved_model
    looks: list[int] = []

    def broken(*_: Any) -> Any:
        looks.append(1)
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(model_refresh, "approved_model", broken)
    serving, conditions = following.serving, following._status.conditions
    digest = approve_other()
    until(lambda: len(looks) > 3, "it looked several times")
    assert "nobody foresaw this" in str(conditions["model"])
    assert following.serving is serving
    assert len([r for r in caplog.records if r.exc_info]) == 1
    monkeypatch.setattr(model_refresh, "approved_model", opened)
    until(lambda: following.serving and following.serving.digest == digest, "it serves")
    until(lambda: conditions["model"] is None, "the condition holds")
