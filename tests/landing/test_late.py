"""A late record lands in its own date, and that date is marked as changed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from lockstep.cli.landing import land_events
from lockstep.landing.report import render
from tests.landing.conftest import DAY, NOON, Harbour, event

pytestmark = pytest.mark.long


def test_a_late_record_changes_its_own_published_date(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    harbour.house.published(harbour.house.connect(), day=DAY)
    days_later = NOON + timedelta(days=3)
    harbour.send([event(1), event(2, days_later)], available=days_later)
    monkeypatch.chdir(harbour.root)
    for name, value in harbour.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(land_events, [harbour.house.use_case], catch_exceptions=False)
    assert harbour.stored().to_pylist() == harbour.expected(harbour.topic)
    assert f"{harbour.topic}: 2 rows landed in readings, 1 of them late; 2 dates" in done.stdout
    assert (
        f"readings of {DAY} changed after it was published (1 new events, 1 of them late):"
        f" lockstep score {harbour.house.use_case} --partition {DAY}\n"
    ) in done.stdout
    assert f"{days_later.date()} changed" not in done.stdout  # it was never published

    # Said again until it is scored again; and that there is nothing new needs no Spark.
    monkeypatch.setattr("lockstep.landing.run.spark_session", None)
    told = CliRunner().invoke(land_events, [harbour.house.use_case, "--json"])
    document = json.loads(told.stdout)
    assert [topic["rows"] for topic in document["topics"]] == [0, 0]
    assert document["changed"] == [
        {"source": "readings", "day": DAY.isoformat(), "rows": 1, "late": 1}
    ]
    harbour.house.published(harbour.house.connect(), day=DAY, inputs="with what landed")
    told = CliRunner().invoke(land_events, [harbour.house.use_case, "--json"])
    assert json.loads(told.stdout)["changed"] == []


def test_copies_land_and_change_no_published_date(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day that is replayed into its own topics: every record is there, and nothing is new."""
    harbour.send([event(number) for number in range(10)])
    assert [topic.fresh for topic in harbour.land().topics] == [10, 0]
    harbour.house.published(harbour.house.connect(), day=DAY)
    harbour.send([event(number) for number in range(10)])
    landing = harbour.land()
    assert [(topic.rows, topic.fresh) for topic in landing.topics] == [(10, 0), (0, 0)]
    assert landing.changed == []
    assert "10 of them copies of events that are there" in render("any", landing)
    assert harbour.stored().to_pylist() == harbour.expected(harbour.topic)
    # One new event among copies is a change, of one event.
    harbour.send([event(3), event(11), event(4), event(11)])
    (changed,) = harbour.land().changed
    assert (changed.source, changed.event_date, changed.rows) == ("readings", DAY, 1)
