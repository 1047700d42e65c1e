"""A day run twice, run again after a change, and run with another model."""

from __future__ import annotations

import pytest
from msgspec import structs

from lockstep.batch.steps import STEPS
from lockstep.errors import ModelRefused, PublishRefused
from tests.batch_house import BatchHouse, flights_of


def test_running_a_day_again_changes_no_byte(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    first = batch_house.run()
    assert first[-1].details["how"] == "attached"
    assert first[-1].details["rows"] == table.num_rows
    stored = batch_house.stored()
    log = batch_house.query("select * from publish_log order by attempt")
    again = batch_house.run()
    assert again[-1].details["how"] == "unchanged"
    assert batch_house.stored() == stored
    assert batch_house.query("select * from publish_log order by attempt") == log
    said = {name: outcome.said for name, outcome in zip(STEPS, again, strict=True)}
    assert "need no check" in said["check_events"]
    assert "nothing was scored" in said["score"]
    assert "nothing to check" in said["check_predictions"]
    assert "nothing changed" in said["publish"]
    assert [state for _, state, _ in batch_house.attempts()] == ["published", "unchanged"]


def test_a_retried_step_of_one_run_leads_to_one_publish(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    *_, checked = batch_house.run("resolve_model", "check_events")
    # Airflow may run any task twice: after a lost heartbeat, or because somebody cleared it.
    batch_house.run("score", "score", "check_predictions", "check_predictions", facts=checked.facts)
    first, second = batch_house.run("publish", "publish", facts=checked.facts)
    assert (first.details["how"], second.details["how"]) == ("attached", "unchanged")
    assert len(batch_house.seen()) == table.num_rows
    batch_house.run()  # clears what the first try staged
    assert [table for _, _, table in batch_house.attempts()] == [None, None, None]


def test_a_late_batch_makes_a_new_publish(batch_house: BatchHouse) -> None:
    table = flights_of(batch_house.day)
    batch_house.write(table.slice(0, 500), "early")
    (*_, early) = batch_house.run()
    batch_house.write(table.slice(500), "late")
    (*_, whole) = batch_house.run()
    assert whole.details["replaced"] == early.details["publish_id"] != whole.details["publish_id"]
    assert len(batch_house.seen()) == table.num_rows


def test_going_back_to_a_model_publishes_its_rows_again_without_scoring(
    batch_house: BatchHouse,
) -> None:
    batch_house.write_flights()
    (*_, first) = batch_house.run()
    seen = batch_house.seen()
    batch_house.approve(2)
    (*_, second) = batch_house.run()
    assert second.details["replaced"] == first.details["publish_id"]
    assert batch_house.seen() != seen
    batch_house.approve(1)
    _, _, score, _, back = batch_house.run()
    assert "nothing was scored" in score.said
    assert back.details["how"] == "switched"
    assert back.details["publish_id"] == first.details["publish_id"]
    assert batch_house.seen() == seen


def test_a_run_keeps_its_model_and_cannot_publish_another_than_the_approved(
    batch_house: BatchHouse,
) -> None:
    batch_house.write_flights()
    pinned, checked = batch_house.run("resolve_model", "check_events")
    batch_house.approve(2)
    scored, _ = batch_house.run("score", "check_predictions", facts=checked.facts)
    assert scored.facts.digest == pinned.facts.digest
    with pytest.raises(PublishRefused, match=r"was scored with version 1 .* names version 2"):
        batch_house.run("publish", facts=checked.facts)
    assert batch_house.seen() == []
    batch_house.run()
    assert len(batch_house.seen()) > 0


def test_the_bytes_of_the_model_are_checked_again_before_scoring(batch_house: BatchHouse) -> None:
    batch_house.write_flights()
    *_, checked = batch_house.run("resolve_model", "check_events")
    other = structs.replace(checked.facts, digest="f" * 64)
    with pytest.raises(ModelRefused, match="ffffffff"):
        batch_house.run("score", facts=other)
    assert batch_house.seen() == []
