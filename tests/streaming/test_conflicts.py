"""Copies that contradict, on real services: worker, landing, batch and the comparison of both."""

from __future__ import annotations

import json
import uuid
from datetime import date
from typing import Any

import pytest

from lockstep.batch.plan import Run
from lockstep.batch.steps import STEPS
from lockstep.comparison import compare_day
from lockstep.kafka import clients
from lockstep.landing.run import land
from lockstep.warehouse.connect import connect
from tests.streaming.deployment import REPOSITORY, Deployment
from tests.until import until

pytestmark = pytest.mark.long

DAY = date(2013, 1, 1)


def send(deployment: Deployment, values: list[bytes], partition: int) -> None:
    """To one partition; each is readable when it happened."""
    producer = clients.producer(deployment.settings.kafka, "tests")
    for value in values:
        at = json.loads(value)["departed_at"]
        producer.produce(deployment.events, value, partition=partition, timestamp=-(-at // 1000))
    producer.flush()


def test_a_conflicting_copy_is_marked_and_never_called_drift(
    deployment: Deployment, events: Any
) -> None:
    """The worker answers the copy in partition 1, which it reads first; batch scores the one in
    partition 0. Copies that say the same, and a refused one, make no difference."""
    good = [value for _, value in events(120)]
    late = json.loads(good[0])
    assert all(json.loads(value)["departed_at"] // 86_400_000_000 == 15_706 for value in good)
    changed = json.dumps(late | {"distance": 9.0, "carrier": "HA"}).encode()
    broken = json.dumps(json.loads(good[1]) | {"distance": -1.0}).encode()
    worker = deployment.worker().ready()
    send(deployment, good, 1)
    until(lambda: deployment.settled() == len(good), "the first copies are scored")
    send(deployment, [changed, broken, good[2]], 0)
    until(lambda: deployment.settled() == len(good) + 3, "their copies are settled")
    assert worker.drain() == 0

    settings = deployment.settings.model_copy(update={"lake": str(deployment.folder / "lake")})
    landed = land(
        settings, deployment.pipeline, master="local[2]", schemas=REPOSITORY / "schemas"
    ).topics[0]
    assert (landed.rows, sum(rows for rows, _ in landed.refused.values())) == (len(good) + 2, 1)
    facts: Any = Run(use_case=deployment.use_case, day=DAY, run_id=uuid.uuid4().hex)
    for step in STEPS.values():
        facts = step.run(settings, deployment.pipeline, facts).facts
    with connect(settings, "analyst", deployment.use_case) as connection:
        found = compare_day(connection, DAY, deployment.events)
        marked = connection.execute("select event_id, fields from conflicting_copies").fetchall()
    assert marked == [(late["event_id"], ["carrier", "distance"])]
    assert (found.rows_batch, found.rows_both) == (len(good), len(good))
    assert (found.differ, found.conflicting) == (0, 1)
    (example,) = found.examples
    assert example.event_id == late["event_id"]
    assert (example.copies, example.stream_place) == ([[0, 0], [1, 0]], [1, 0])
    assert example.batch_score != example.stream_score
