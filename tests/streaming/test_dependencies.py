"""A dependency that is away at start or in the middle: wait, say so, lose nothing."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from typing import Any

from tests.streaming.deployment import Deployment
from tests.streaming.proxy import Proxy
from tests.until import LIMIT_S, until


def test_the_warehouse_goes_away_and_comes_back(deployment: Deployment, events: Any) -> None:
    with Proxy.of(deployment.settings.url("scorer")) as proxy:
        deployment.environment["LOCKSTEP_SCORER_URL"] = proxy.url
        deployment.limit_batches(100)
        worker = deployment.worker().ready()
        sent = events(4_000)
        deployment.send(sent[:2_000])
        until(lambda: deployment.settled() > 200, "some events are settled")
        proxy.cut()
        deployment.send(sent[2_000:])
        until(lambda: worker.condition("warehouse").startswith("waiting"), "it waits")
        until(lambda: worker.page("ready").get("ready") is False, "the worker is not ready")
        settled = deployment.settled()
        assert settled < len(sent)
        proxy.mend()
        until(lambda: deployment.settled() == len(sent), "every event is settled")
        worker.ready()
        assert worker.drain() == 0
    assert Counter(row[0] for row in deployment.rows()) == Counter(key for key, _ in sent)
    assert {a["event_id"] for a in deployment.answers()} == {key for key, _ in sent}


def test_a_worker_with_nothing_to_do_notices_that_the_warehouse_has_gone(
    deployment: Deployment, events: Any
) -> None:
    with Proxy.of(deployment.settings.url("scorer")) as proxy:
        deployment.environment["LOCKSTEP_SCORER_URL"] = proxy.url
        worker = deployment.worker().ready()
        for away in (proxy.cut, proxy.freeze):
            away()
            until(
                lambda: worker.condition("warehouse").startswith("waiting: the warehouse at"),
                "it says so",
            )
            until(lambda: worker.code("ready") == 503, "it is not ready")
            health = until(lambda: worker.code("health"), "its health page answers")
            assert health == 200, "a new worker would wait as well"
            proxy.mend()
            worker.ready()
        deployment.send(events(20))
        until(lambda: deployment.settled() == 20, "every event is settled")
        assert worker.drain() == 0


def test_a_warehouse_that_hangs_counts_as_away(deployment: Deployment, events: Any) -> None:
    """It keeps its connections and answers nothing: no refusal, and no time-out of TCP's."""
    with Proxy.of(deployment.settings.url("scorer")) as proxy:
        deployment.environment["LOCKSTEP_SCORER_URL"] = proxy.url
        deployment.limit_batches(100)
        worker = deployment.worker().ready()
        sent = events(2_000)
        deployment.send(sent[:1_000])
        until(lambda: deployment.settled() > 100, "some events are settled")
        proxy.freeze()
        deployment.send(sent[1_000:])
        until(lambda: worker.condition("warehouse").startswith("waiting"), "it waits")
        proxy.mend()
        until(lambda: deployment.settled() == len(sent), "every event is settled")
        worker.ready()
        # It hangs while this row is being written: it is in hand when the worker is stopped.
        proxy.at(b"e-2000", proxy.freeze)
        deployment.send(events(2_001)[2_000:])
        assert proxy.reached.wait(LIMIT_S)
        assert worker.drain() == 1
        assert "left behind" in worker.log.read_text()
    assert Counter(row[0] for row in deployment.rows()) == Counter(key for key, _ in sent)


def test_the_warehouse_is_away_at_start(deployment: Deployment, events: Any) -> None:
    with Proxy.of(deployment.settings.url("scorer")) as proxy:
        proxy.cut()
        deployment.environment["LOCKSTEP_SCORER_URL"] = proxy.url
        worker = deployment.worker()
        until(
            lambda: re.match("waiting.*does not answer", worker.condition("model")),
            "the worker says that it waits",
        )
        until(lambda: worker.page("ready").get("ready") is False, "the worker is not ready")
        proxy.mend()
        worker.ready()
        deployment.send(events(20))
        until(lambda: deployment.settled() == 20, "every event is settled")
        assert worker.drain() == 0


def test_a_worker_with_nothing_to_do_notices_that_the_broker_hangs(
    deployment: Deployment, broker_pid: int
) -> None:
    worker = deployment.worker().ready()
    os.kill(broker_pid, signal.SIGSTOP)
    try:
        until(lambda: worker.condition("kafka").startswith("waiting"), "it says so")
        until(lambda: worker.page("ready").get("ready") is False, "the worker is not ready")
    finally:
        os.kill(broker_pid, signal.SIGCONT)
    worker.ready()
    assert worker.drain() == 0


def test_the_broker_freezes_and_comes_back(
    deployment: Deployment, events: Any, broker_pid: int
) -> None:
    deployment.limit_batches(100)
    worker = deployment.worker().ready()
    sent = events(3_000)
    deployment.send(sent)
    until(lambda: deployment.settled() > 200, "some events are settled")
    os.kill(broker_pid, signal.SIGSTOP)
    try:
        until(lambda: worker.condition("kafka").startswith("waiting"), "the worker notices")
    finally:
        os.kill(broker_pid, signal.SIGCONT)
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    worker.ready()
    assert worker.drain() == 0
    assert Counter(row[0] for row in deployment.rows()) == Counter(key for key, _ in sent)
    assert {a["event_id"] for a in deployment.answers()} == {key for key, _ in sent}
