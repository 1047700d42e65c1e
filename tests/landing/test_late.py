"""A late record lands in its own date, and that date is marked as changed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from lockstep.cli.landing import land_events
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
        f"readings of {DAY} changed after it was published (1 rows, 1 of them late):"
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
