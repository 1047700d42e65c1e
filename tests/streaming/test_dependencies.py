"""A dependency that is away at start or in the middle: wait, say so, lose nothing."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

from tests.streaming.deployment import Deployment, until
from tests.streaming.proxy import Proxy


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
        page = until(
            lambda: (p := worker.page("ready")) and not p["ready"] and p, "the worker is not ready"
        )
        assert page["conditions"]["warehouse"].startswith("waiting")
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
            page = until(lambda: (p := worker.page("ready")) and not p["ready"] and p, "it says so")
            assert page["conditions"]["warehouse"].startswith("waiting: the warehouse at")
            assert worker.code("health") == 200, "a new worker would wait as well"
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
        until(lambda: (p := worker.page("ready")) and not p["ready"], "the worker is not ready")
        proxy.mend()
        until(lambda: deployment.settled() == len(sent), "every event is settled")
        worker.ready()
        proxy.freeze()
        deployment.send(events(2_100)[2_000:])
        assert worker.drain() == 1
        assert "left behind" in worker.log.read_text()
    assert Counter(row[0] for row in deployment.rows()) == Counter(key for key, _ in sent)


def test_the_warehouse_is_away_at_start(deployment: Deployment, events: Any) -> None:
    with Proxy.of(deployment.settings.url("scorer")) as proxy:
        proxy.cut()
        deployment.environment["LOCKSTEP_SCORER_URL"] = proxy.url
        worker = deployment.worker()
        page = until(
            lambda: (
                (p := worker.page("ready"))
                and str(p["conditions"]["model"]).startswith("waiting")
                and p
            ),
            "the worker says that it waits",
        )
        assert not page["ready"]
        assert "does not answer" in page["conditions"]["model"]
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
        page = until(lambda: (p := worker.page("ready")) and not p["ready"] and p, "it says so")
        assert page["conditions"]["kafka"].startswith("waiting: Kafka at")
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
        until(
            lambda: (p := worker.page("ready")) and not p["ready"],
            "the worker notices",
        )
    finally:
        os.kill(broker_pid, signal.SIGCONT)
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    worker.ready()
    assert worker.drain() == 0
    assert Counter(row[0] for row in deployment.rows()) == Counter(key for key, _ in sent)
    assert {a["event_id"] for a in deployment.answers()} == {key for key, _ in sent}
