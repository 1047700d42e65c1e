"""Windows on the stream: what a worker saw, bit for bit, whatever happens to it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from lockstep.kafka.reader import Reader
from streaming.dead_letters import HEADER
from streaming.replay import Recorded
from tests.kafka.deleting import delete_records
from tests.streaming.deployment import Deployment, kill_midway
from tests.streaming.windowed import (
    HOUR,
    Expected,
    expected,
    one_day,
    records_of,
    send,
    stored,
    with_trouble,
)
from tests.until import until

DAY = date(2013, 1, 10)
SOME_DAYS = (date(2013, 1, 8), date(2013, 1, 14))


def moved(record: Recorded, later: int) -> Recorded:
    """The arrival, as if it had come so many microseconds later."""
    event = json.loads(record.value)
    value = json.dumps(event | {"arrived_at": event["arrived_at"] + later}).encode()
    at, available_at = record.time + later, record.available_at + later
    return record._replace(value=value, time=at, available_at=available_at)


def settled(deployment: Deployment, records: Sequence[Recorded]) -> None:
    """Wait until every scored record is behind the ledger."""
    total = sum(1 for record in records if record.scored)

    def done() -> bool:
        newest = deployment.workers[-1]
        assert newest.process.poll() is None, newest.log.read_text()[-4000:]
        return deployment.settled() == total

    until(done, "every event is settled")


def require_equal(deployment: Deployment, asked_for: Sequence[str], truth: Expected) -> None:
    """Each event that was asked for has a complete row with the windows and scores it must have."""
    rows = stored(deployment)
    assert set(asked_for) <= set(rows)
    assert not [name for name in asked_for if rows[name][2]]
    assert not [name for name in asked_for if rows[name][0] != truth.windows[name]]
    assert not [name for name in asked_for if rows[name][1] != truth.answers[name]]


def test_a_day_as_it_happens(windowed_deployment: Deployment, january: str) -> None:
    """Every row has the windows that batch would give it, and the score that follows."""
    worker = windowed_deployment.worker().ready()
    records = records_of(windowed_deployment, january, DAY, DAY)
    send(windowed_deployment, records)
    settled(windowed_deployment, records)
    require_equal(windowed_deployment, one_day(records), expected(records))
    assert worker.drain() == 0
    # Whole windows, not empty ones.
    values = [np.frombuffer(row[0], np.float32) for row in stored(windowed_deployment).values()]
    assert np.isfinite(values).all(axis=1).sum() > 300


def test_control_without_a_cut_it_drifts(windowed_deployment: Deployment, january: str) -> None:
    windowed_deployment.environment |= {"FAULT": "no-cut", "FAULT_AFTER": "0"}
    windowed_deployment.worker(main="tests.streaming.faulty_worker").ready()
    records = records_of(windowed_deployment, january, DAY, DAY)
    send(windowed_deployment, records)
    settled(windowed_deployment, records)
    with pytest.raises(AssertionError):
        require_equal(windowed_deployment, one_day(records), expected(records))


@pytest.mark.parametrize("trouble", [False, True])
def test_killed_in_the_middle_of_a_backlog(
    windowed_deployment: Deployment, january: str, trouble: bool
) -> None:
    """Days behind, killed while it catches up, started again: as if it had never been away."""
    records = records_of(windowed_deployment, january, *SOME_DAYS)
    if trouble:
        records = with_trouble(records)
    windowed_deployment.limit_batches(300)
    send(windowed_deployment, records, backlog=True)
    scored = [record.key for record in records if record.scored]
    kill_midway(windowed_deployment, 1_000, before=scored[len(scored) * 3 // 4])
    assert windowed_deployment.settled() < len(scored)
    windowed_deployment.worker()
    settled(windowed_deployment, records)
    require_equal(windowed_deployment, one_day(records), expected(records))


def test_a_backlog_while_all_that_may_be_forgotten_is(
    windowed_deployment: Deployment, january: str
) -> None:
    """Two partitions with days to catch up, and state forgotten after each micro-batch."""
    records = records_of(windowed_deployment, january, *SOME_DAYS)
    windowed_deployment.limit_batches(300)
    send(windowed_deployment, records, backlog=True)
    windowed_deployment.environment |= {"FAULT": "forgetful", "FAULT_AFTER": "0"}
    worker = windowed_deployment.worker(main="tests.streaming.faulty_worker")
    settled(windowed_deployment, records)
    require_equal(windowed_deployment, one_day(records), expected(records))
    assert 0 < until(worker.metrics, "its metrics")["lockstep_state_cells"] < 40_000


def test_two_workers_share_and_hand_over(windowed_deployment: Deployment, january: str) -> None:
    """Each reads the state whole, so it does not matter which of them has an event's partition."""
    records = records_of(windowed_deployment, january, *SOME_DAYS)
    windowed_deployment.limit_batches(200)
    half = len(records) // 2
    first = windowed_deployment.worker().ready()
    send(windowed_deployment, records[:half], backlog=True)
    second = windowed_deployment.worker().ready()
    until(lambda: second.page("health").get("partitions"), "the second has a partition")
    send(windowed_deployment, records[half:])
    assert first.drain() == 0
    settled(windowed_deployment, records)
    require_equal(windowed_deployment, one_day(records), expected(records))
    assert second.drain() == 0


def test_a_log_that_begins_too_late_says_so_in_its_rows(
    windowed_deployment: Deployment, january: str
) -> None:
    """Nothing was deleted, but the first hours' windows reach back before the first record."""
    records = [r for r in records_of(windowed_deployment, january, DAY, DAY) if r.asked_for]
    begin = records[0].available_at
    send(windowed_deployment, records, backlog=True)
    windowed_deployment.worker()
    settled(windowed_deployment, records)
    rows, truth = stored(windowed_deployment), expected(records)
    early = {r.key for r in records if r.scored and r.time < begin + 12 * HOUR}
    late = {r.key for r in records if r.scored and r.time > begin + 13 * HOUR}
    assert early
    assert late
    assert all(rows[name][2] for name in early)
    assert not any(rows[name][2] for name in late)
    assert not [name for name in rows if rows[name][0] != truth.windows[name]]


def test_state_that_the_log_has_deleted(windowed_deployment: Deployment, january: str) -> None:
    """What nobody can compute any more is a dead letter; what comes after it is whole."""
    records = records_of(windowed_deployment, january, DAY, DAY)
    send(windowed_deployment, records)
    kafka, topic = windowed_deployment.settings.kafka, windowed_deployment.arrivals
    ends = Reader(kafka).ends([(topic, 0), (topic, 1)])
    delete_records(kafka, {place: end // 2 for place, end in ends.items()})
    windowed_deployment.worker().ready()
    settled(windowed_deployment, records)
    reasons = {
        letter.key().decode(): dict(letter.headers())[f"{HEADER}reason"].decode()
        for letter in windowed_deployment.letters()
    }
    assert reasons
    assert all("no longer hold" in reason for reason in reasons.values())
    rows, truth = stored(windowed_deployment), expected(records)
    assert len(rows) > 50
    assert set(rows).isdisjoint(reasons)
    assert set(rows) | set(reasons) == {record.key for record in records if record.scored}
    assert not [name for name in rows if rows[name][0] != truth.windows[name]]


def test_rows_scored_without_their_state_are_marked(
    windowed_deployment: Deployment, january: str
) -> None:
    """The bounded wait expires: scored all the same, and marked, wherever the score is told."""
    records = records_of(windowed_deployment, january, DAY, DAY)
    windowed_deployment.limit_batches(50)
    windowed_deployment.environment |= {"FAULT": "lagging-state", "FAULT_AFTER": "6"}
    worker = windowed_deployment.worker(main="tests.streaming.faulty_worker").ready()
    send(windowed_deployment, records)
    settled(windowed_deployment, records)
    rows, truth = stored(windowed_deployment), expected(records)
    marked = [name for name in one_day(records) if rows[name][2]]
    wrong = [name for name in one_day(records) if rows[name][0] != truth.windows[name]]
    assert set(wrong) <= set(marked)
    assert 0 < len(marked) < len(one_day(records))
    incomplete = sum(row[2] for row in rows.values())
    until(
        lambda: worker.metrics().get("lockstep_incomplete_total") == incomplete,
        "so many are counted",
    )
    total = len(rows)
    until(lambda: len(windowed_deployment.answers()) == total, "every event is answered")
    assert {a["event_id"]: a["incomplete"] for a in windowed_deployment.answers()} == {
        name: row[2] for name, row in rows.items()
    }
    # Copies are answered from the table, and so is what a killed worker left unanswered.
    send(windowed_deployment, [record for record in records if record.scored])
    until(lambda: len(windowed_deployment.answers()) == 2 * total, "every copy is answered")
    again = windowed_deployment.answers()
    assert all(a["incomplete"] == rows[a["event_id"]][2] for a in again)


def test_ready_means_that_the_state_is_folded(
    windowed_deployment: Deployment, january: str
) -> None:
    """No event was ever there, and the first one may come any moment."""
    came = [r for r in records_of(windowed_deployment, january, DAY, DAY) if not r.scored]
    later = time.time_ns() // 1000 - max(record.available_at for record in came)
    send(windowed_deployment, [moved(record, later) for record in came], backlog=True)
    worker = windowed_deployment.worker().ready()
    metrics = until(worker.metrics, "its metrics")
    assert metrics["lockstep_state_events_total"] > 300
    assert metrics["lockstep_state_cells"] > 300
    assert metrics["lockstep_state_keys"] > 10
    assert worker.drain() == 0


def test_new_windows_are_folded_before_they_take_over(
    windowed_deployment: Deployment, january: str, approve_windows: Any
) -> None:
    """While a model without windows serves; its successor's first row is whole already."""
    records = records_of(windowed_deployment, january, DAY, DAY)
    half = len(records) * 3 // 4
    approve_windows(False)
    worker = windowed_deployment.worker().ready()
    send(windowed_deployment, records[:half])
    settled(windowed_deployment, records[:half])
    digest = approve_windows(True)
    until(
        lambda: worker.serves("model_digest") == digest,
        "the worker serves the newly approved digest",
    )
    send(windowed_deployment, records[half:])
    settled(windowed_deployment, records)
    require_equal(windowed_deployment, one_day(records[half:]), expected(records))
    assert worker.drain() == 0


def test_wrong_clocks_and_old_events_are_dead_letters(
    windowed_deployment: Deployment, january: str
) -> None:
    records = records_of(windowed_deployment, january, DAY, DAY)
    scored = [number for number, record in enumerate(records) if record.scored]
    ahead, old = records[scored[-1]], records[scored[-2]]
    records[scored[-1]] = ahead._replace(available_at=ahead.time - 60_000_000)
    records[scored[-2]] = old._replace(available_at=old.time + 7 * HOUR)
    send(windowed_deployment, sorted(records))
    windowed_deployment.worker().ready()
    settled(windowed_deployment, records)
    assert {ahead.key, old.key}.isdisjoint(stored(windowed_deployment))
    reasons = {
        letter.key().decode(): dict(letter.headers())[f"{HEADER}reason"].decode()
        for letter in windowed_deployment.letters()
    }
    assert "wrong clock" in reasons[ahead.key]
    assert "7.0 hours" in reasons[old.key]
    # Neither counts as state: an event that was too old to score may still have been on time.
    left = [name for name in one_day(records) if name not in (ahead.key, old.key)]
    kept = [record for record in records if record.key != ahead.key]
    require_equal(windowed_deployment, left, expected(kept))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"retention.ms": str(5 * 3_600_000)}, "hours are missing"),
        ({"cleanup.policy": "compact"}, "is compacted"),
        ({"message.timestamp.type": "LogAppendTime"}, "carry LogAppendTime"),
    ],
)
def test_a_topic_that_cannot_keep_a_promise(
    windowed_deployment: Deployment, config: dict[str, str], said: str
) -> None:
    """The worker says so at start, names the window and never gets ready."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry

    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(
        ResourceType.TOPIC, windowed_deployment.arrivals, incremental_configs=entries
    )
    for future in windowed_deployment.admin.incremental_alter_configs([resource]).values():
        future.result()
    code, log = windowed_deployment.worker().end()
    assert code == 1
    assert said in log
    assert "window " in log
    assert windowed_deployment.settled() == 0


def test_a_state_topic_that_is_not_there(windowed_deployment: Deployment) -> None:
    windowed_deployment.delete(windowed_deployment.arrivals)
    code, log = windowed_deployment.worker().end()
    assert code == 1
    assert f"windows: topic {windowed_deployment.arrivals} does not exist" in log


def test_a_state_topic_recreated_under_the_worker(
    windowed_deployment: Deployment, january: str
) -> None:
    records = records_of(windowed_deployment, january, DAY, DAY)
    send(windowed_deployment, records[:-20])
    worker = windowed_deployment.worker().ready()
    settled(windowed_deployment, records[:-20])
    name, stamped = windowed_deployment.arrivals, {"message.timestamp.type": "CreateTime"}
    windowed_deployment.delete(name)
    windowed_deployment.create([NewTopic(name, 2, 1, config=stamped)])
    send(windowed_deployment, [record for record in records[-20:] if record.scored])
    code, log = worker.end()
    assert code == 1
    assert "was recreated or" in log
