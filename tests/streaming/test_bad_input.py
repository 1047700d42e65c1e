"""Every input event ends in exactly one place: a row and an answer, or the dead letters."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.contracts.test_decoding import BAD
from tests.streaming.deployment import Deployment
from tests.until import until


def test_bad_events_are_kept_with_the_reason_and_the_others_are_scored(
    deployment: Deployment, events: Any
) -> None:
    good = events(300)
    bad = [(f"bad-{name}", payload) for name, (payload, _) in BAD.items()]
    mixed = [*good[:100], *bad, *good[100:]]
    worker = deployment.worker().ready()
    deployment.send(mixed)
    until(lambda: deployment.settled() == len(mixed), "every event is settled")
    assert worker.drain() == 0

    assert [row[0] for row in deployment.rows()] == sorted(key for key, _ in good)
    assert sorted(a["event_id"] for a in deployment.answers()) == sorted(key for key, _ in good)
    letters = {letter.key().decode(): letter for letter in deployment.letters()}
    # The client hands over an empty value as a tombstone, and so reads it.
    assert {key: letter.value() or None for key, letter in letters.items()} == {
        key: payload or None for key, payload in bad
    }
    for name, (_, reason) in BAD.items():
        headers = dict(letters[f"bad-{name}"].headers())
        assert headers["lockstep.topic"].decode() == deployment.events
        assert int(headers["lockstep.offset"]) >= 0
        assert re.search(reason, headers["lockstep.reason"].decode())


def test_a_copy_is_answered_with_the_stored_score(deployment: Deployment, events: Any) -> None:
    """The producer changed its mind about a field, not about id and time: the row stands."""
    [(key, payload)] = events(1)
    changed = json.dumps(json.loads(payload) | {"distance": 19_000.0, "carrier": "ZZ"}).encode()
    worker = deployment.worker().ready()
    deployment.send([(key, payload)])
    until(lambda: deployment.settled() == 1, "the event is settled")
    deployment.send([(key, changed), (key, payload)])
    until(lambda: deployment.settled() == 3, "its copies are settled")
    assert worker.drain() == 0
    assert len(deployment.rows()) == 1
    answers = deployment.answers()
    assert len(answers) == 3
    assert len({(a["score"], a["margin"]) for a in answers}) == 1


def test_the_same_id_at_another_time_is_another_event(deployment: Deployment, events: Any) -> None:
    [(key, payload)] = events(1)
    document = json.loads(payload)
    later = json.dumps(document | {"departed_at": document["departed_at"] + 60_000_000}).encode()
    worker = deployment.worker().ready()
    deployment.send([(key, payload), (key, later)])
    until(lambda: deployment.settled() == 2, "both are settled")
    assert worker.drain() == 0
    assert [row[0] for row in deployment.rows()] == [key, key]


def test_a_topic_of_rubbish_only(deployment: Deployment) -> None:
    worker = deployment.worker().ready()
    deployment.send([(str(n), b"rubbish") for n in range(500)])
    until(lambda: deployment.settled() == 500, "every event is settled")
    assert worker.drain() == 0
    assert deployment.rows() == []
    assert len(deployment.letters()) == 500


def test_the_values_are_the_models_own(deployment: Deployment, events: Any, scorer: Any) -> None:
    """What the stream stored is what the approved file gives for the same JSON."""
    sent = events(1000)
    worker = deployment.worker().ready()
    deployment.send(sent)
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    assert worker.drain() == 0
    expected = scorer([payload for _, payload in sent])
    rows = {row[0]: (row[1], row[2]) for row in deployment.rows()}
    assert {key: rows[key] for key, _ in sent} == {
        key: tuple(both) for (key, _), both in zip(sent, expected, strict=True)
    }


def test_wrong_clocks_and_late_events_are_dead_letters_whatever_the_model_has(
    deployment: Deployment, events: Any
) -> None:
    """This model has no windows. No event makes a day partition far from its record's day."""
    good = events(3)
    document = json.loads(good[0][1])
    at, year = document["departed_at"], 365 * 86_400_000_000
    moved = {
        "at the skew": 5_000_000,
        "beyond the skew": 5_000_001,
        "at the lateness": -6 * 3_600_000_000,
        "beyond the lateness": -6 * 3_600_000_000 - 1,
        "in fifty years": 50 * year,
        "ten years ago": -10 * year,
    }
    stamp = at // 1000
    sent = [
        (name, json.dumps(document | {"event_id": name, "departed_at": stamp * 1000 + by}).encode())
        for name, by in moved.items()
    ]
    worker = deployment.worker().ready()
    deployment.send(sent, timestamp_ms=stamp)
    deployment.send(good)
    until(lambda: deployment.settled() == len(sent) + len(good), "every event is settled")
    assert worker.drain() == 0
    kept = ["at the skew", "at the lateness"]
    assert [row[0] for row in deployment.rows()] == sorted([*kept, *(key for key, _ in good)])
    reasons = {
        letter.key().decode(): dict(letter.headers())["lockstep.reason"].decode()
        for letter in deployment.letters()
    }
    assert reasons.keys() == moved.keys() - set(kept)
    assert reasons["beyond the skew"].startswith("wrong clock: departed_at is 5.000 s after its")
    assert reasons["in fifty years"].startswith("wrong clock")
    assert reasons["beyond the lateness"].startswith("too late: departed_at is 6.0 hours before")
    assert reasons["ten years ago"].startswith("too late")
