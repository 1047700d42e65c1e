"""Starting, stopping, following approvals, and refusing to go on where events were lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

from lockstep.exits import WRONG_USAGE
from tests.streaming.deployment import REPOSITORY, Deployment
from tests.until import until


def test_sigterm_drains(deployment: Deployment, events: Any) -> None:
    """What was scored is written and answered, and the ledger knows it; exit code 0."""
    deployment.limit_batches(100)
    worker = deployment.worker().ready()
    deployment.send(events(5_000))
    until(lambda: deployment.settled() > 300, "some events are settled")
    assert worker.drain() == 0
    settled = deployment.settled()
    assert len(deployment.rows()) == settled == len(deployment.answers())
    assert all(produced == following for _, following, produced in deployment.offsets())


def test_it_scores_where_models_cannot_be_imported(deployment: Deployment, events: Any) -> None:
    hidden = "import sys; sys.modules['models'] = None"
    run = "from streaming.app import main; sys.exit(main(sys.argv[1:]))"
    (deployment.folder / "hidden.py").write_text(f"{hidden}; {run}\n")
    worker = deployment.worker(main="hidden").ready()
    sent = events(50)
    deployment.send(sent)
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    assert worker.drain() == 0
    assert len(deployment.rows()) == len(sent)


def test_it_follows_an_approval(deployment: Deployment, events: Any, approve_other: Any) -> None:
    """A newer approval takes over between micro-batches; each row leads to its own."""
    worker = deployment.worker().ready()
    before, after = events(40)[:20], events(40)[20:]
    deployment.send(before)
    until(lambda: deployment.settled() == 20, "the first events are settled")
    digest = approve_other()
    until(
        lambda: worker.serves("model_digest") == digest,
        "the worker serves the newly approved digest",
    )
    deployment.send(after)
    until(lambda: deployment.settled() == 40, "the other events are settled")
    assert worker.drain() == 0
    digests = {row[0]: row[6] for row in deployment.rows()}
    assert {digests[key] for key, _ in after} == {digest}
    assert digest not in {digests[key] for key, _ in before}


def test_while_a_model_is_refused_no_event_is_lost(
    deployment: Deployment, events: Any, refused: Any
) -> None:
    """The newest approval cannot serve: events wait, also those of a partition just taken over."""
    deployment.limit_batches(100)
    worker, other = deployment.worker().ready(), deployment.worker().ready()
    with refused():
        for each in (worker, other):
            until(lambda each=each: "digest" in each.condition("model"), "it refuses the model")
        sent = events(2_000)
        deployment.send(sent)
        assert other.drain() == 0
        until(
            lambda: worker.page("health").get("partitions") == [0, 1],
            "the first worker has taken over",
        )
        assert deployment.settled() == 0
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    assert worker.drain() == 0
    assert [row[0] for row in deployment.rows()] == sorted(key for key, _ in sent)


def test_a_topic_recreated_under_a_frozen_worker_stops_it(
    deployment: Deployment, events: Any
) -> None:
    worker = deployment.worker().ready()
    deployment.send(events(50))
    until(lambda: deployment.settled() == 50, "every event is settled")
    os.kill(worker.process.pid, signal.SIGSTOP)
    deployment.recreate_events_topic()
    later = [(f"n-{key}", value.replace(b'"e-', b'"n-e-')) for key, value in events(300)]
    deployment.send(later)
    os.kill(worker.process.pid, signal.SIGCONT)
    code, log = worker.end()
    assert code == 1
    assert "was recreated" in log
    # What it had read of the new log by then is kept; the rest is read once that is accepted.
    accepting = deployment.worker("--accept-loss").ready()
    until(lambda: deployment.settled() == len(later), "the new log is read from its beginning")
    assert accepting.drain() == 0
    assert len(deployment.rows()) == 50 + len(later)


def test_a_worker_that_is_stuck_fails_its_health_and_looks_ready(
    deployment: Deployment, events: Any
) -> None:
    """The conditions, which `/ready` goes by, are about others: they never notice."""
    deployment.environment |= {"FAULT": "stuck", "FAULT_AFTER": "0"}
    worker = deployment.worker(main="tests.streaming.faulty_worker").ready()
    until(lambda: worker.code("health") == 200, "it goes round while nothing comes")
    deployment.send(events(1))
    until(lambda: worker.code("health") == 503, "its health fails")
    until(
        lambda: "nothing has moved for" in (worker.page("health").get("stuck") or ""),
        "it says why",
    )
    until(lambda: worker.code("ready") == 200, "it looks ready")
    assert worker.code("health") != 200


def test_a_recreated_topic_stops_it(deployment: Deployment, events: Any) -> None:
    worker = deployment.worker().ready()
    deployment.send(events(50))
    until(lambda: deployment.settled() == 50, "every event is settled")
    assert worker.drain() == 0
    deployment.recreate_events_topic()
    code, log = deployment.worker().end()
    assert code == 1
    assert "was recreated" in log
    assert "--accept-loss" in log
    accepting = deployment.worker("--accept-loss").ready()
    later = [(f"n-{key}", value.replace(b'"e-', b'"n-e-')) for key, value in events(30)]
    deployment.send(later)
    until(lambda: len(deployment.rows()) == 80, "the new events are scored")
    assert accepting.drain() == 0


def test_a_missing_topic_is_named(deployment: Deployment) -> None:
    code, log = deployment.worker("--topic", "no-such-topic").end()
    assert code == 1
    assert "topic no-such-topic does not exist" in log
    assert "next: lockstep up" in log


def test_a_port_in_use_is_named(deployment: Deployment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, log = deployment.worker("--port", str(port)).end()
    assert code == WRONG_USAGE
    assert f"port {port}" in log
    assert "next: lockstep stream" in log


def test_an_unknown_use_case_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lockstep.cli", "stream", "no_such_case"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "there is no use case 'no_such_case' (known: blood_glucose, flight_delay" in done.stderr


def test_metrics_are_served(deployment: Deployment, events: Any) -> None:
    worker = deployment.worker().ready()
    deployment.send([*events(10), ("bad", b"rubbish")])
    until(lambda: deployment.settled() == 11, "every event is settled")
    counted = {
        "lockstep_scored_total": 10.0,
        "lockstep_dead_letters_total": 1.0,
        "lockstep_ready": 1.0,
    }
    # They are counted after the ledger has them.
    until(lambda: counted.items() <= worker.metrics().items(), "the metrics say so")
    assert worker.drain() == 0
