"""What lands: the same rows and types, once, and nothing that breaks its contract."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa

from lockstep.contracts import Contract
from lockstep.lake import LANDED, read_partition
from tests.landing.conftest import DAY, NOON, Harbour, contract, event


def test_rows_and_types_are_what_was_sent_and_a_second_run_lands_what_is_new(
    harbour: Harbour,
) -> None:
    nulls = event(2, NOON + timedelta(days=1), place=None, level=None)
    tomorrow = NOON + timedelta(days=1, seconds=1)
    harbour.send([event(1), nulls, event(1), event(3, NOON - timedelta(days=300))], None, tomorrow)
    harbour.send([event(4)], topic=harbour.alarms)
    landing = harbour.land()
    readings, alarms = landing.topics
    assert (readings.source, readings.rows, readings.refused) == ("readings", 4, {})
    assert readings.late == 3
    assert (alarms.source, alarms.days) == ("alarms", {DAY: [1, 0]})
    assert landing.changed == []
    stored = harbour.stored()
    schema = Contract.from_document(contract("readings")).arrow_schema
    assert stored.schema.remove_metadata() == pa.schema([*schema, *LANDED])
    assert stored.to_pylist() == harbour.expected(harbour.topic)
    assert harbour.stored("alarms").to_pylist() == harbour.expected(harbour.alarms)
    days = [path.parent.parent.name for path in harbour.files()]
    assert sorted(set(days)) == ["date=2012-12-05", "date=2013-10-01", "date=2013-10-02"]

    # Nothing new is no landing; what is new is added, and no file is touched.
    assert [topic.epochs for topic in harbour.land().topics] == [0, 0]
    before = {path: path.stat().st_mtime_ns for path in harbour.files()}
    harbour.send([event(number) for number in range(5, 10)])
    assert [topic.rows for topic in harbour.land().topics] == [5, 0]
    assert harbour.stored().to_pylist() == harbour.expected(harbour.topic)
    assert before.items() < {path: path.stat().st_mtime_ns for path in harbour.files()}.items()

    # A copy that Kafka has is in the lake as well, and read once.
    read = read_partition(harbour.settings.lake, Contract.from_document(contract("readings")), DAY)
    assert sorted(read.column("id").to_pylist()) == ["e-1", *(f"e-{n}" for n in range(5, 10))]
