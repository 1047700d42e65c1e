"""What does not land: broken records are counted; a log that lost records is an error."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest
from pyspark.sql.streaming.datasource import ReadAllAvailable
from pyspark.sql.types import StructType

from lockstep.contracts import kind_of
from lockstep.errors import OffsetsLost, Terminal, UsageError, marked_in
from lockstep.landing.checkpoint import checkpoint_of
from lockstep.landing.log import log_of
from lockstep.landing.source import KafkaLog
from tests.kafka.deleting import delete_records
from tests.landing.conftest import NOON, Harbour, event
from tests.until import until

BROKEN = [
    event(1, level=5000.25),
    b"{",
    b"",
    event(3, steps=-8),
    event(2, steps=-7),
    event(4, NOON + timedelta(seconds=7)),  # the record says NOON + 1 s; 5 s are forgiven
    event(5, place="x" * 2000),
    event(7, NOON - timedelta(days=367)),
]


@pytest.mark.long
def test_broken_records_are_counted_by_reason_and_absent(harbour: Harbour) -> None:
    honest = event(6, NOON + timedelta(seconds=6))
    harbour.send([*BROKEN, honest])
    (readings, _) = harbour.land().topics
    assert harbour.stored().to_pylist() == harbour.expected(harbour.topic, BROKEN)
    assert readings.rows == 1
    assert {reason: rows for reason, (rows, _) in readings.refused.items()} == {
        "Input data was truncated": 1,
        "the value is empty": 1,
        "level is …, outside […, …]": 1,
        "steps is …, outside […, …]": 2,
        "wrong clock: at is … s after its record's timestamp, more than the clock skew of … s": 1,
        "too old: at is … days before its record's timestamp, more than … days": 1,
        "the value has … bytes, more than …": 1,
    }
    _, example = readings.refused["steps is …, outside […, …]"]
    assert example == "partition 0, offset 2: steps is -7, outside [0, 100]"
    noted = harbour.query(
        "select sum(rows)::int from landing_rejects where topic = %s", harbour.topic
    )
    assert noted == [(len(BROKEN),)]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("x1 is 1e-05, outside [0, 2.5]", "x1 is …, outside […, …]"),
        ("place is 'it\\'s', not one of a, b", "place is …, not one of a, b"),
        ('place has 9 characters, more than 3: "it\'s"', "place has … characters, more than …: …"),
        ("Expected `int`, got `str` - at `$.steps2`", "Expected `int`, got `str` - at `$.steps2`"),
    ],
)
def test_a_reason_is_counted_without_its_values(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


@pytest.mark.long
def test_a_log_that_does_not_continue_is_refused_until_its_checkpoint_is_removed(
    harbour: Harbour,
) -> None:
    harbour.send([event(number) for number in range(4)])
    assert harbour.land().topics[0].rows == 4
    checkpoint = checkpoint_of(harbour.settings.lake, harbour.house.use_case, harbour.topic)
    before = harbour.files()

    harbour.send([event(number) for number in range(10)])
    delete_records(harbour.kafka.bootstrap, {(harbour.topic, 1): 4})
    refused(harbour, r"\[1\] was landed up to offset 2, .* holds 4 to 7")

    with harbour.kafka.admin() as admin:
        admin.delete_topics([harbour.topic])
        # The broker hears of it later than its controller, and would say that it exists.
        until(lambda: harbour.topic not in admin.list_topics(), "the topic is gone")
    harbour.kafka.create_topics(harbour.pipeline)
    harbour.send([event(number) for number in range(10)])
    refused(harbour, "was recreated")
    assert harbour.files() == before

    shutil.rmtree(checkpoint)
    assert harbour.land().topics[0].rows == 10
    assert harbour.stored().num_rows == 14


def test_spark_refuses_it_as_well(harbour: Harbour) -> None:
    """The source looks by itself: a topic may be recreated while Spark starts."""
    log = log_of(harbour.kafka.bootstrap, harbour.topic)
    options = {"kafka": harbour.kafka.bootstrap, "topic": harbour.topic}
    options |= {"checkpoint": "here", "max_bytes": "1000"}
    reader = KafkaLog(options).streamReader(StructType())
    foreign = {"topic_id": "another", "next": {"0": 0, "1": 0}}
    for look in (
        lambda: reader.latestOffset(foreign, ReadAllAvailable()),
        lambda: reader.partitions(foreign, log.position(log.next)),
    ):
        with pytest.raises(RuntimeError) as raised:
            look()
        told = marked_in(f"Spark says: {raised.value}, at org.apache")
        assert isinstance(told, OffsetsLost)
        assert told.message.startswith(f"topic {harbour.topic} was recreated")


def refused(harbour: Harbour, said: str) -> None:
    with pytest.raises(OffsetsLost, match=said) as raised:
        harbour.land()
    checkpoint = checkpoint_of(harbour.settings.lake, harbour.house.use_case, harbour.topic)
    assert f"remove {checkpoint}" in (raised.value.next or "")


def test_what_cannot_work_is_said_before_spark_starts(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstep.landing.run.spark_session", None)
    with pytest.raises(Terminal, match=r"topic nowhere does not exist"):
        harbour.land(topic="nowhere")
    path = harbour.root / "models" / harbour.house.use_case / "pipeline.toml"
    path.write_text(path.read_text().replace("CreateTime", "LogAppendTime"))
    with pytest.raises(Terminal, match=r"type CreateTime, pipeline\.toml says"):
        harbour.land()
    with pytest.raises(UsageError, match="Spark Connect"):
        harbour.land(master="sc://somewhere")
