"""Batch beside stream: bits, counts, and no verdict without a comparison."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from lockstep.comparison import as_document, compare_day, render
from lockstep.errors import UsageError
from lockstep.warehouse import arrays
from lockstep.warehouse.attempts import finish_attempt
from lockstep.warehouse.conflicts import ConflictingCopies, record
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.publish import publish
from lockstep.warehouse.staging import stage
from tests.house import A, B, House

DAY = date(2013, 10, 1)
MIDNIGHT = datetime(2013, 10, 1, tzinfo=UTC)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def batch(house: House, score: np.ndarray, margin: np.ndarray | None = None, first: int = 0):
    """Publish one row for each score: events `first` onwards."""
    conn = house.connect()
    attempt = house.begin(conn, rows=len(score), inputs=repr((score.tobytes(), first)))
    rows = {
        "event_id": [f"event-{first + n}" for n in range(len(score))],
        "event_time": pa.array(
            [MIDNIGHT + timedelta(seconds=first + n) for n in range(len(score))],
            pa.timestamp("us", "UTC"),
        ),
        "score": pa.array(score),
        "margin": pa.array(score if margin is None else margin),
    }
    stage(house.conninfo(), attempt, [pa.record_batch(rows)])
    publish(conn, finish_attempt(conn, attempt))


def stream(
    house: House,
    score: np.ndarray,
    margin: np.ndarray | None = None,
    first: int = 0,
    topic: str = "events",
    approval: int = 1,
):
    """Store one row for each score, as the worker does: the floats' own bits."""
    conn = house.connect()
    ensure_stream_day(conn, DAY)
    conn.execute(
        "insert into streams (topic, topic_uuid) values (%s, 'u') on conflict do nothing", (topic,)
    )
    arrays.register(conn)
    count = len(score)
    conn.execute(
        "insert into predictions_stream (event_date, stream_id, event_id, event_time, score,"
        " margin, approval, kafka_partition, kafka_offset)"
        " select %s, stream_id, 'event-' || v.n, %s + v.n * interval '1 s', v.score, v.margin, %s,"
        " 0, v.n from streams, unnest(%s::int8[], %s::real[], %s::real[]) v(n, score, margin)"
        " where topic = %s",
        (
            DAY,
            MIDNIGHT,
            approval,
            arrays.pack("int8", np.arange(first, first + count)),
            arrays.pack("float4", score),
            arrays.pack("float4", score if margin is None else margin),
            topic,
        ),
    )


def test_the_same_bits(fresh_house):
    values = floats(0.1, 0.25, -0.0, np.nan, np.inf, 1e-45)
    batch(fresh_house, values)
    stream(fresh_house, values)
    found = compare_day(fresh_house.connect("analyst"), DAY)
    assert (found.rows_batch, found.rows_stream, found.rows_both) == (6, 6, 6)
    assert (found.differ, found.other_model, found.examples) == (0, 0, ())
    assert found.same
    assert found.topic == "events"
    assert found.digest == A
    text = render(found)
    assert "6 rows in both" in text
    assert "0 differ (score and margin, bit for bit, of 6 rows)" in text
    assert "only in" not in text


ONE_BIT = struct.unpack("<f", struct.pack("<I", 0x3DCCCCCE))[0]  # 0.1 and one


@pytest.mark.parametrize(
    ("left", "right"),
    [(0.1, ONE_BIT), (0.0, -0.0), (np.nan, 0.0), (1e-45, 0.0), (np.inf, -np.inf)],
)
@pytest.mark.parametrize("where", ["score", "margin"])
def test_one_bit_is_a_difference(fresh_house, left, right, where):
    same = floats(0.5, 0.5, 0.5)
    other = floats(0.5, right, 0.5)
    changed = floats(0.5, left, 0.5)
    if where == "score":
        batch(fresh_house, changed, same)
        stream(fresh_house, other, same)
    else:
        batch(fresh_house, same, changed)
        stream(fresh_house, same, other)
    found = compare_day(fresh_house.connect(), DAY)
    assert (found.rows_both, found.differ, found.same) == (3, 1, False)
    assert [e.event_id for e in found.examples] == ["event-1"]
    text = render(found)
    assert "1 differ" in text
    assert "event-1 at 2013-10-01T00:00:01Z" in text
    bits = [f"0x{int(floats(v).view(np.uint32)[0]):08x}" for v in (left, right)]
    assert all(bit in text for bit in bits)
    document = json.loads(json.dumps(as_document(found)))
    assert document["differ"] == 1
    assert not document["same"]
    assert [document["examples"][0][side][where] for side in ("batch", "stream")] == bits


def test_a_margin_that_one_side_lacks_is_a_difference(fresh_house):
    batch(fresh_house, floats(0.5))
    stream(fresh_house, floats(0.5))
    fresh_house.connect("owner").execute("update predictions_stream set margin = null")
    found = compare_day(fresh_house.connect(), DAY)
    assert found.differ == 1
    assert "0.5 (0x3f000000) and none" in render(found)


def test_rows_of_one_side_only(fresh_house):
    batch(fresh_house, floats(*[0.5] * 6), first=0)
    stream(fresh_house, floats(*[0.5] * 6), first=2)
    found = compare_day(fresh_house.connect(), DAY)
    assert (found.only_batch, found.only_stream, found.rows_both) == (2, 2, 4)
    assert found.differ == 0
    assert not found.same
    text = render(found)
    assert "2 rows only in batch" in text
    assert "2 rows only in the stream" in text


def test_the_same_id_at_another_time_is_another_event(fresh_house):
    batch(fresh_house, floats(0.5))
    stream(fresh_house, floats(0.5))
    fresh_house.connect("owner").execute(
        "update predictions_stream set event_time = event_time + interval '1 microsecond'"
    )
    found = compare_day(fresh_house.connect(), DAY)
    assert (found.rows_both, found.only_batch, found.only_stream) == (0, 1, 1)
    assert not found.same
    assert "differ" not in render(found)
    assert "nothing was compared" in render(found)


def test_nothing_is_printed_before_something_is_counted(fresh_house):
    conn, name = fresh_house.connect(), fresh_house.use_case
    with pytest.raises(UsageError, match="no batch predictions") as no_batch:
        compare_day(conn, DAY)
    assert no_batch.value.next == f"lockstep score {name} --partition 2013-10-01"
    batch(fresh_house, floats(0.5))
    with pytest.raises(UsageError, match=r"the stream of \w+ scored no event of 2013-10-01"):
        compare_day(conn, DAY)
    stream(fresh_house, floats(0.5))
    with pytest.raises(UsageError, match="from topic another"):
        compare_day(conn, DAY, topic="another")


def test_the_stream_that_scored_last_unless_one_is_named(fresh_house):
    batch(fresh_house, floats(0.5, 0.5))
    stream(fresh_house, floats(0.75, 0.75), topic="events-1")
    stream(fresh_house, floats(0.5, 0.5), topic="events-2")
    conn = fresh_house.connect()
    newest = compare_day(conn, DAY)
    assert (newest.topic, newest.differ) == ("events-2", 0)
    named = compare_day(conn, DAY, topic="events-1")
    assert (named.topic, named.differ) == ("events-1", 2)


def test_only_the_current_publish_counts(fresh_house):
    batch(fresh_house, floats(0.25, 0.25))
    batch(fresh_house, floats(0.5, 0.5))
    stream(fresh_house, floats(0.5, 0.5))
    found = compare_day(fresh_house.connect(), DAY)
    assert (found.rows_batch, found.differ) == (2, 0)


def test_another_model_is_said(fresh_house):
    batch(fresh_house, floats(0.5, 0.5, 0.5))
    fresh_house.approve(B, version=2)
    stream(fresh_house, floats(0.5, 0.5, 0.75), approval=2)
    found = compare_day(fresh_house.connect(), DAY)
    assert (found.differ, found.other_model) == (1, 3)
    assert "3 rows were scored by different models" in render(found)


def test_few_examples_of_many(fresh_house):
    batch(fresh_house, np.full(1200, 0.5, np.float32))
    stream(fresh_house, np.full(1200, 0.75, np.float32))
    found = compare_day(fresh_house.connect(), DAY)
    assert found.differ == 1200
    assert len(found.examples) == 5
    text = render(found)
    assert "1,200 differ" in text
    assert "... and 1,195 more" in text
    assert len(text.splitlines()) < 20


def test_events_that_came_in_conflicting_copies_are_counted_by_themselves(fresh_house):
    """With both copies; a difference beside them is still one that nothing explains."""
    conn = fresh_house.connect()
    batch(fresh_house, floats(0.5, 0.5, 0.5, 0.5))
    stream(fresh_house, floats(0.25, 0.75, 0.5, 0.25))
    publish_id = conn.execute("select publish_id from current_publish").fetchone()[0]
    copies = {0: [[0, 7], [1, 0]], 1: [None, [0, 1]], 2: [[0, 1], [1, 1]]}
    conflicts = [
        ConflictingCopies(f"event-{n}", MIDNIGHT + timedelta(seconds=n), places, ["level"])
        for n, places in copies.items()
    ]
    record(conn, DAY, publish_id, conflicts)
    record(conn, DAY, publish_id, conflicts)
    record(conn, DAY, "another publish", [ConflictingCopies("event-3", MIDNIGHT, [], [])])
    conn.commit()
    found = compare_day(fresh_house.connect("analyst"), DAY)
    assert (found.rows_both, found.differ, found.conflicting) == (4, 1, 2)
    assert not found.same
    text = render(found)
    assert "1 differ (score and margin" in text
    assert "2 more differ because their events came in conflicting copies" in text
    assert "level differ: batch's copy is [0] 7, the stream's [0] 0" in text
    assert "batch's copy is a loaded one, the stream's [0] 1" in text
    examples = as_document(found)["examples"]
    assert [example["copies"] for example in examples] == [None, copies[0], copies[1]]
    seen = fresh_house.connect("analyst").execute(
        "select event_id, copies, fields from conflicting_copies order by event_id"
    )
    assert seen.fetchall() == [(f"event-{n}", copies[n], ["level"]) for n in copies]


def test_a_difference_on_the_very_copy_that_batch_scored_is_no_conflict(fresh_house):
    """Both scored the same copy, and not alike: whatever other copies there are, that is drift."""
    conn = fresh_house.connect()
    batch(fresh_house, floats(0.5, 0.5))
    stream(fresh_house, floats(0.25, 0.25))
    publish_id = conn.execute("select publish_id from current_publish").fetchone()[0]
    copies = {0: [[0, 0], [1, 0]], 1: [[1, 0], [0, 1]]}
    record(
        conn,
        DAY,
        publish_id,
        [
            ConflictingCopies(f"event-{n}", MIDNIGHT + timedelta(seconds=n), places, ["level"])
            for n, places in copies.items()
        ],
    )
    conn.commit()
    found = compare_day(fresh_house.connect("analyst"), DAY)
    assert (found.rows_both, found.differ, found.conflicting) == (2, 1, 1)
    assert [(e.event_id, e.conflicting) for e in found.examples] == [
        ("event-0", False),
        ("event-1", True),
    ]
    drift, conflict = render(found).split("1 more differ because")
    assert "event-0" in drift
    assert "batch's copy is [1] 0, the stream's [0] 1" in conflict
