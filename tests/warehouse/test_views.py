"""The analysts' views: every row leads to what made it, and a query reads only its days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from lockstep.warehouse.attempts import finish_attempt
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.publish import publish
from lockstep.warehouse.staging import stage
from tests.house import A, B, scored
from tests.warehouse.role_table import VIEWS

DAY = date(2013, 10, 1)


def stream(conn, topic: str, events: range, *, score: float, day: date = DAY, approval: int = 1):
    """Rows as a worker writes them: the events of `scored`, from a topic's partition 2."""
    ensure_stream_day(conn, day)
    conn.execute(
        "insert into streams (topic, topic_uuid) values (%s, 'u') on conflict do nothing", (topic,)
    )
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for n in events:
        conn.execute(
            "insert into predictions_stream (event_date, stream_id, event_id, event_time, entity,"
            " score, margin, approval, kafka_partition, kafka_offset)"
            " select %s, stream_id, %s, %s, 'e', %s, %s, %s, 2, %s from streams where topic = %s",
            (day, f"event-{n}", midnight + timedelta(seconds=n), score, score - 1, approval,
             n + 100, topic),
        )  # fmt: skip


@pytest.fixture
def filled(fresh_house):
    """Batch: events 0 to 4. Streams: 3 to 6 on the first topic, 5 to 7 on the second."""
    conn = fresh_house.connect()
    fresh_house.published(conn, day=DAY, score=0.5)
    stream(conn, "first", range(3, 7), score=0.25)
    fresh_house.approve(B, version=2)
    stream(conn, "second", range(5, 8), score=0.75, approval=2)
    return fresh_house


def test_predictions_has_everything_that_counts(filled):
    rows = filled.connect("analyst").execute(
        "select source, topic, count(*) from predictions group by 1, 2 order by 1, 2"
    )
    assert list(rows) == [("batch", None, 5), ("stream", "first", 4), ("stream", "second", 3)]


def test_each_row_leads_to_what_made_it(filled):
    analyst = filled.connect("analyst")
    (batch,) = analyst.execute(
        "select model_version, model_digest, publish_id, topic, kafka_partition, kafka_offset,"
        " available_at from predictions where source = 'batch' and event_id = 'event-3'"
    ).fetchall()
    log = filled.connect().execute("select publish_id, published_at from publish_log").fetchone()
    assert batch == (1, A, log[0], None, None, None, log[1])
    (first,) = analyst.execute(
        "select model_version, model_digest, publish_id, topic, kafka_partition, kafka_offset"
        " from predictions where topic = 'first' and event_id = 'event-5'"
    ).fetchall()
    assert first == (1, A, None, "first", 2, 105)
    (second,) = analyst.execute(
        "select model_version, model_digest, topic, kafka_offset"
        " from predictions where topic = 'second' and event_id = 'event-5'"
    ).fetchall()
    assert second == (2, B, "second", 105)


def test_latest_has_one_row_for_each_event(filled):
    rows = filled.connect("analyst").execute(
        "select event_id, source, score, topic, model_version from latest_predictions"
        " order by event_time"
    )
    assert list(rows) == [
        *((f"event-{n}", "batch", 0.5, None, 1) for n in range(5)),
        *((f"event-{n}", "stream", 0.75, "second", 2) for n in range(5, 8)),
    ]


def test_an_older_publish_is_not_seen(filled):
    conn = filled.connect()
    filled.approve(A)
    attempt = filled.begin(conn, inputs="fewer", rows=2)
    stage(filled.conninfo(), attempt, [scored(2, 0.125)])
    publish(conn, finish_attempt(conn, attempt))
    analyst = filled.connect("analyst")
    scores = "select count(*), min(score), max(score) from predictions where source = 'batch'"
    assert analyst.execute(scores).fetchone() == (2, 0.125, 0.125)
    # Events that only the older publish held are the stream's again.
    assert analyst.execute(
        "select source from latest_predictions where event_id = 'event-3'"
    ).fetchall() == [("stream",)]


def test_a_day_that_was_never_published(filled):
    conn, day = filled.connect(), DAY + timedelta(days=1)
    stream(conn, "first", range(2), score=0.25, day=day)
    assert filled.connect("analyst").execute(
        "select source, count(*) from latest_predictions where event_date = %s group by 1", (day,)
    ).fetchall() == [("stream", 2)]


@pytest.mark.parametrize("view", ["predictions", "latest_predictions"])
def test_a_query_reads_only_its_days(fresh_house, view):
    conn = fresh_house.connect()
    for n in range(4):
        day = DAY + timedelta(days=n)
        fresh_house.published(conn, day=day)
        stream(conn, "first", range(3), score=0.25, day=day)
    plan = "\n".join(
        row[0]
        for row in conn.execute(
            f"explain (costs off) select * from {view} where event_date = '2013-10-02'"
        )
    )
    assert "predictions_batch_20131002" in plan
    assert "predictions_stream_20131002" in plan
    for other in ("20131001", "20131003", "20131004"):
        assert other not in plan, plan


def test_one_source_reads_only_its_tables(fresh_house):
    conn = fresh_house.connect()
    fresh_house.published(conn)
    stream(conn, "first", range(3), score=0.25)
    for source, other in (("batch", "predictions_stream"), ("stream", "predictions_batch")):
        plan = "\n".join(
            row[0]
            for row in conn.execute(
                f"explain (costs off) select * from predictions where source = '{source}'"
            )
        )
        assert f"predictions_{source}" in plan
        assert other not in plan


def test_every_view_and_column_that_analysts_read_says_what_it_is(fresh_house):
    """psql's \\d+ and BI tools show it. A new view or column gets its sentence, or this fails."""
    described = (
        fresh_house.connect("analyst")
        .execute(
            "select c.relname, a.attname, col_description(c.oid, a.attnum),"
            " obj_description(c.oid, 'pg_class')"
            " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
            " where c.relnamespace = %s::regnamespace and has_column_privilege(c.oid, a.attnum,"
            " 'select') and not a.attisdropped",
            (fresh_house.use_case,),
        )
        .fetchall()
    )
    assert {view for view, *_ in described} == set(VIEWS.split())
    assert [f"{view}.{column}" for view, column, said, _ in described if not said] == []
    assert [view for view, _, _, said in described if not said] == []
    for view, column, said, of_view in described:
        for text in (said, of_view):
            assert text[0].isupper(), (view, column)
            assert text.endswith("."), (view, column)
            assert "\n" not in text, (view, column)
