"""What a benchmark makes in a stack is gone at its end, also where it is interrupted."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import Any

import pytest

from benchmarks.borrowed import Borrowed, borrowed
from benchmarks.stream import fill, worker
from lockstep.errors import UsageError
from lockstep.kafka import clients
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from tests.streaming.deployment import REPOSITORY, environment_of
from tests.until import until

USE_CASE = "flight_delay"


@pytest.fixture
def at_home(approved: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As if a benchmark were started from the repository's root, over this session's services."""
    monkeypatch.chdir(REPOSITORY)
    for name, value in environment_of(approved).items():
        if name.startswith("LOCKSTEP_"):
            monkeypatch.setenv(name, value)
    return approved


def rows(settings: Settings, name: str) -> int:
    """What analysts see of the topics that begin so."""
    with closing(connect(settings, "analyst", USE_CASE)) as connection:
        query = "select count(*) from predictions where starts_with(topic, %s)"
        found = connection.execute(query, (name,)).fetchone()
    assert found
    return int(found[0])


def topics(settings: Settings, name: str) -> list[str]:
    known = clients.admin(settings.kafka, "tests").list_topics(timeout=10).topics
    return [topic for topic in known if topic.startswith(name)]


def test_an_interrupted_benchmark_leaves_no_row_and_no_topic(
    at_home: Settings, events: Any
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    deployments: list[Borrowed] = []

    def benchmark() -> None:
        with borrowed(at_home, USE_CASE) as own:
            deployments.append(own)
            assert own.pipeline.topics.events in topics(at_home, own.name)
            with worker(own, ["-m", "streaming.app", USE_CASE], "auto"):
                fill(at_home, own.pipeline.topics.events, events(20))
                until(lambda: rows(at_home, own.name) == 20, "its events are scored")
                # As of a supervisor, in the middle of it.
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        benchmark()
    [own] = deployments
    assert signal.getsignal(signal.SIGTERM) is handler
    assert rows(at_home, own.name) == 0
    with closing(connect(at_home, "owner", USE_CASE)) as connection:
        for table in ("stream_offsets", "stream_batches", "predictions_stream"):
            query = f"select count(*) from {table} where stream_id not in"
            orphans = connection.execute(f"{query} (select stream_id from streams)").fetchone()
            assert orphans == (0,), table
    until(lambda: topics(at_home, own.name) == [], "the broker has deleted its topics")
    assert not own.folder.exists()


def test_without_an_owner_nothing_is_made(at_home: Settings) -> None:
    before = topics(at_home, "bench-")
    nobody = at_home.model_copy(update={"owner_url": None})
    with pytest.raises(UsageError, match="LOCKSTEP_OWNER_URL"), borrowed(nobody, USE_CASE):
        pass
    assert topics(at_home, "bench-") == before
