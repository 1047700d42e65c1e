"""A log that loses records under a running worker: it stops, and says what it knows."""

from __future__ import annotations

import os
import signal
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lockstep.kafka.reader import Reader
from lockstep.local.home import Home, silent
from lockstep.local.kafka.broker import Kafka
from lockstep.local.service import stop
from tests.kafka.deleting import delete_records
from tests.streaming.deployment import PARTITIONS, Deployment
from tests.streaming.windowed import records_of, send
from tests.until import until

DAY = date(2013, 1, 10)


@pytest.fixture
def truncate(stack_home: Home, tmp_path: Path) -> Any:
    """Empties a topic's log as a lost disk does: the topic is the same, its records are gone."""

    def emptied(topic: str) -> None:
        broker = Kafka(stack_home)
        stop(stack_home, ["kafka"])
        for number in range(PARTITIONS):
            for file in (broker.data / "log" / f"{topic}-{number}").iterdir():
                if file.name != "partition.metadata":
                    file.unlink()
        broker.start(silent)

    return emptied


def test_events_deleted_before_they_were_read(deployment: Deployment, events: Any) -> None:
    worker = deployment.worker().ready()
    deployment.send(events(50))
    until(lambda: deployment.settled() == 50, "every event is settled")
    os.kill(worker.process.pid, signal.SIGSTOP)
    # A question that the worker had asked is answered with the first of them: not with the others.
    deployment.send(events(51)[50:])
    deployment.send(events(150)[51:])
    places = [(deployment.events, number) for number in range(PARTITIONS)]
    ends = Reader(deployment.settings.kafka).ends(places)
    delete_records(deployment.settings.kafka, ends)
    os.kill(worker.process.pid, signal.SIGCONT)
    code, log = worker.end()
    assert code == 1
    require_told(log, deployment.events)
    before = len(deployment.rows())
    accepting = deployment.worker("--accept-loss").ready()
    deployment.send(events(160)[150:])
    until(lambda: len(deployment.rows()) == before + 10, "what comes now is scored")
    assert accepting.drain() == 0


def test_events_truncated_after_they_were_read(
    deployment: Deployment, events: Any, truncate: Any
) -> None:
    worker = deployment.worker().ready()
    deployment.send(events(50))
    until(lambda: deployment.settled() == 50, "every event is settled")
    truncate(deployment.events)
    code, log = worker.end()
    assert code == 1
    require_told(log, deployment.events)
    assert "holds offsets 0 to 0" in log


def test_state_truncated_after_it_was_read(
    windowed_deployment: Deployment, january: str, truncate: Any
) -> None:
    """Windows would silently be too small from here on."""
    deployment = windowed_deployment
    worker = deployment.worker().ready()
    records = records_of(deployment, january, DAY, DAY)
    send(deployment, records[: len(records) // 2])
    total = sum(record.scored for record in records[: len(records) // 2])
    until(lambda: deployment.settled() == total, "every event is settled")
    truncate(deployment.arrivals)
    # Only an event asks where the state ends.
    scored = next(record for record in records[len(records) // 2 :] if record.scored)
    send(deployment, [scored])
    code, log = worker.end()
    assert code == 1
    assert f"the state topic {deployment.arrivals}" in log
    assert "recreated or truncated" in log
    assert "left behind: what was scored" in log
    assert "next: restore its records" in log
    assert "Traceback" not in log
    assert deployment.settled() == total


def require_told(log: str, topic: str) -> None:
    assert f"OffsetsLost: {topic}[" in log
    assert "but the warehouse continues at" in log
    assert "left behind: rows and offsets as they were" in log
    assert "--accept-loss" in log
    assert "Traceback" not in log
