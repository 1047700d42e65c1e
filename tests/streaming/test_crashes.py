"""Kill -9 at each point of the protocol: nothing lost, nothing doubled, everything answered.

Each point has its control, the usual way to write a worker, which must fail there.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import closing
from typing import Any

import numpy as np
import psutil
import pytest

from lockstep.kafka.reader import Reader
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Ledger
from tests.streaming.deployment import Deployment, kill_midway
from tests.until import until

EVENTS = 3000


def verdict(sent: list[str], rows: list[str], answers: list[str]) -> dict[str, int]:
    """Events without a row, rows beyond one an event, events without an answer."""
    counted = Counter(rows)
    return {
        "lost": len(set(sent) - set(rows)),
        "doubled": sum(counted.values()) - len(counted),
        "unanswered": len(set(sent) - set(answers)),
    }


NOTHING_WRONG = {"lost": 0, "doubled": 0, "unanswered": 0}


@pytest.mark.parametrize("fault", ["before-commit", "after-commit", "mid-answers"])
def test_a_killed_worker_loses_and_doubles_nothing(
    deployment: Deployment, events: Any, fault: str
) -> None:
    sent = events(EVENTS)
    deployment.limit_batches(200)
    deployment.send(sent)
    deployment.environment |= {"FAULT": fault, "FAULT_AFTER": "3"}
    code, log = deployment.worker(main="tests.streaming.faulty_worker").end()
    assert code == -signal.SIGKILL, log
    assert 0 < deployment.settled() < EVENTS

    deployment.worker()
    until(lambda: deployment.settled() == EVENTS, "every event is settled")
    assert deployment.workers[-1].drain() == 0
    rows = [row[0] for row in deployment.rows()]
    answers = deployment.answers()
    assert verdict([key for key, _ in sent], rows, [a["event_id"] for a in answers]) == (
        NOTHING_WRONG
    )
    stored = {row[0]: (row[1], row[2]) for row in deployment.rows()}
    for answer in answers:
        assert _bits(answer["score"], answer["margin"]) == _bits(*stored[answer["event_id"]])


def _bits(*values: float) -> bytes:
    return np.array(values, np.float32).tobytes()


@pytest.mark.parametrize(
    ("fault", "order", "wrong"),
    [
        ("before-commit", "first", "lost"),
        ("after-commit", "last", "doubled"),
        ("mid-answers", "first", "unanswered"),
    ],
)
def test_control_an_unprotected_worker_fails_there(
    deployment: Deployment, events: Any, fault: str, order: str, wrong: str
) -> None:
    sent = events(EVENTS)
    deployment.send(sent)
    table = deployment.events.replace(".", "_")
    with closing(connect(deployment.settings, "owner", "flight_delay")) as connection:
        connection.execute(f'create table "{table}" (event_id text)')
        connection.execute(f'grant select, insert on "{table}" to flight_delay_scorer')
        connection.commit()
    deployment.environment |= {"ORDER": order, "FAULT": fault, "FAULT_AFTER": "3"}
    code, log = deployment.worker(main="tests.streaming.unprotected_worker").end()
    assert code == -signal.SIGKILL, log
    del deployment.environment["FAULT"]
    last = sent[-1][0]
    deployment.worker(main="tests.streaming.unprotected_worker")
    with closing(connect(deployment.settings, "scorer", "flight_delay")) as connection:
        connection.autocommit = True

        def rows() -> list[str]:
            return [r[0] for r in connection.execute(f'select event_id from "{table}"').fetchall()]

        deployment.send([("end", b'{"event_id": "end"}')] * 40)
        until(lambda: rows().count("end") >= 40, f"everything after {last} was read")
        found = verdict(
            [key for key, _ in sent],
            [name for name in rows() if name != "end"],
            [a["event_id"] for a in deployment.answers()],
        )
    assert found[wrong] > 0, found


def test_kill_9_in_mid_replay(deployment: Deployment, events: Any) -> None:
    """At whatever point the worker happens to be."""
    sent = events(20_000)
    deployment.limit_batches(500)
    deployment.send(sent)
    kill_midway(deployment, 2_000, before="e-15000")
    assert deployment.settled() < len(sent)
    deployment.worker()
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    assert deployment.workers[-1].drain() == 0
    assert verdict(
        [key for key, _ in sent],
        [row[0] for row in deployment.rows()],
        [a["event_id"] for a in deployment.answers()],
    ) == (NOTHING_WRONG)


def test_a_worker_that_froze_cannot_write_when_it_wakes(
    deployment: Deployment, events: Any
) -> None:
    """A zombie: frozen with a micro-batch in hand, replaced, and woken again."""
    sent = events(6_000)
    deployment.limit_batches(100)
    deployment.send(sent)
    deployment.environment |= {"FAULT": "freeze", "FAULT_AFTER": "3"}
    zombie = deployment.worker(main="tests.streaming.faulty_worker")
    until(
        lambda: psutil.Process(zombie.process.pid).status() == psutil.STATUS_STOPPED,
        "the first worker is frozen",
    )
    assert 0 < deployment.settled() < len(sent)
    successor = deployment.worker()
    until(lambda: deployment.settled() == len(sent), "the successor settles everything")
    rows = deployment.rows()
    os.kill(zombie.process.pid, signal.SIGCONT)

    def fenced_off() -> bool:
        log = zombie.log.read_text()
        return "another worker owns" in log or "gave up" in log

    until(fenced_off, "the woken worker finds out")
    assert deployment.settled() == len(sent)
    assert deployment.rows() == rows
    assert Counter(row[0] for row in rows) == Counter(key for key, _ in sent)
    assert successor.drain() == 0
    assert not {key for key, _ in sent} - {a["event_id"] for a in deployment.answers()}


def test_a_worker_goes_on_after_a_claim_that_came_too_late(
    deployment: Deployment, events: Any
) -> None:
    """A worker that the group has given up already claims a partition: nobody else reads it."""
    sent = events(200)
    worker = deployment.worker().ready()
    deployment.send(sent[:100])
    until(lambda: deployment.settled() == 100, "the first events are settled")
    topic_id = Reader(deployment.settings.kafka).topics([deployment.events])[deployment.events].id
    with closing(connect(deployment.settings, "scorer", deployment.use_case)) as connection:
        late = Ledger(connection, deployment.events)
        late.open(topic_id)
        late.claim(0, 0, 100)
    deployment.send(sent[100:])
    until(lambda: deployment.settled() == 200, "every event is settled")
    assert worker.drain() == 0
    assert verdict(
        [key for key, _ in sent],
        [row[0] for row in deployment.rows()],
        [a["event_id"] for a in deployment.answers()],
    ) == (NOTHING_WRONG)


def test_two_workers_share_and_hand_over(deployment: Deployment, events: Any) -> None:
    sent = events(12_000)
    deployment.limit_batches(200)
    first = deployment.worker().ready()
    deployment.send(sent[:6_000])
    second = deployment.worker().ready()
    until(lambda: second.page("health").get("partitions"), "the second has a partition")
    deployment.send(sent[6_000:])
    assert first.drain() == 0
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    assert second.drain() == 0
    assert verdict(
        [key for key, _ in sent],
        [row[0] for row in deployment.rows()],
        [a["event_id"] for a in deployment.answers()],
    ) == (NOTHING_WRONG)
