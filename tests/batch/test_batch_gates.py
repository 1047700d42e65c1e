"""Days that may not be scored or published: each a clear error, and nothing half-written."""

from __future__ import annotations

import math
from datetime import timedelta

import pyarrow as pa
import pytest
from msgspec import structs

from lockstep.errors import (
    CheckFailed,
    ContractError,
    LakeError,
    LockstepError,
    UsageError,
)
from lockstep.lake import LANDED, fingerprint
from tests.batch_house import BatchHouse, flights_of


def changed(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    position = table.schema.get_field_index(column)
    field = pa.field(column, table.schema.field(column).type)
    return table.set_column(position, field, pa.array(values, field.type))


def refuse(house: BatchHouse, kind: type[LockstepError], said: str) -> str:
    with pytest.raises(kind, match=said) as raised:
        house.run()
    assert raised.value.left, "says what is left behind"
    assert raised.value.next, "says what to type next"
    assert house.seen() == []
    return str(raised.value)


def test_a_missing_day(batch_house: BatchHouse) -> None:
    refuse(batch_house, LakeError, f"has no partition flight_departures/date={batch_house.day}")
    assert batch_house.attempts() == []


def test_an_empty_day(batch_house: BatchHouse) -> None:
    batch_house.write(flights_of(batch_house.day).slice(0, 0))
    refuse(batch_house, LakeError, "has no events")


def test_a_column_of_another_type(batch_house: BatchHouse) -> None:
    table = flights_of(batch_house.day)
    position = table.schema.get_field_index("flight")
    text = table.set_column(position, "flight", table["flight"].cast(pa.string()))
    batch_house.write(table.slice(0, 400), "a")
    batch_house.write(text.slice(400), "b")
    told = refuse(batch_house, LakeError, "'flight' has type string, not int64")
    assert "batch=b/part-00000.parquet" in told


def test_too_few_events(batch_house: BatchHouse) -> None:
    batch_house.write(flights_of(batch_house.day).slice(0, 20))
    told = refuse(batch_house, CheckFailed, "does not meet 1 expectation")
    assert "expect_table_row_count_to_be_between: observed 20, expected between 50 and" in told


def test_every_missed_gate_is_named_with_values_and_events(batch_house: BatchHouse) -> None:
    table = flights_of(batch_house.day)
    table = changed(table, "origin", 7, "LAX")
    table = changed(table, "distance", 9, math.inf)
    position = table.schema.get_field_index("engine")
    table = table.set_column(position, "engine", pa.nulls(table.num_rows, pa.string()))
    batch_house.write(table)
    told = refuse(batch_house, CheckFailed, "does not meet 3 expectations")
    ids = table["event_id"].to_pylist()
    assert f"(origin): 1 of {table.num_rows:,} values, e.g. 'LAX' in event_id {ids[7]!r}" in told
    assert f"(distance): 1 of {table.num_rows:,} values, e.g. inf in event_id {ids[9]!r}" in told
    assert f"not_be_null(engine): {table.num_rows:,} of" in told
    assert len(told) < 2_000


def test_a_gate_asks_the_whole_contract(batch_house: BatchHouse) -> None:
    table = changed(flights_of(batch_house.day), "tailnum", 3, "N\0")
    batch_house.write(table)
    told = refuse(batch_house, CheckFailed, r"fit_contract\(tailnum\): 1 of .* none of them NUL")
    assert repr(table["event_id"][3].as_py()) in told


def test_beyond_the_sample_every_event_is_still_checked(
    batch_house: BatchHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstep.batch.check_events.SAMPLE_ROWS", 100)
    table = flights_of(batch_house.day)
    batch_house.write(changed(table, "distance", 1, 30_000.0))  # the second row is not in it
    told = refuse(batch_house, ContractError, r"1 of .* distance is 30000\.0, outside")
    assert repr(table["event_id"][1].as_py()) in told
    batch_house.write(table.slice(0, 40))
    refuse(batch_house, CheckFailed, "row_count_to_be_between: observed 40")
    batch_house.write(changed(table, "distance", 0, 30_000.0))
    refuse(batch_house, CheckFailed, r"fit_contract\(distance\): 1 of ")


def test_a_null_that_may_not_be(batch_house: BatchHouse) -> None:
    batch_house.write(changed(flights_of(batch_house.day), "carrier", 5, None))
    refuse(batch_house, CheckFailed, r"not_be_null\(carrier\): 1 of")


def test_an_event_of_another_day(batch_house: BatchHouse) -> None:
    batch_house.write(flights_of(batch_house.day + timedelta(days=1)))
    refuse(batch_house, LakeError, "are of another UTC day")


def test_one_id_at_two_times_is_two_events_and_is_reported(
    batch_house: BatchHouse, caplog: pytest.LogCaptureFixture
) -> None:
    table = flights_of(batch_house.day)
    column = table.schema.get_field_index("event_id")
    ids = table["event_id"].to_pylist()
    ids[-1] = ids[0]
    batch_house.write(table.set_column(column, table.schema.field(column), [ids]))
    batch_house.run()
    assert "event_id at several times" in caplog.text
    assert ids[0] in caplog.text
    assert len(batch_house.seen()) == table.num_rows


def test_scores_that_miss_a_gate_are_not_published(batch_house: BatchHouse) -> None:
    batch_house.write_flights()
    batch_house.edit_pipeline("max_mean_score = 0.9", "max_mean_score = 0.021")
    told = refuse(batch_house, CheckFailed, r"expect_column_mean_to_be_between\(score\)")
    assert "observed 0." in told
    ((_, state, table),) = batch_house.attempts()
    assert state == "staged"
    assert table in told, "the rows are still there to be looked at"
    batch_house.edit_pipeline("max_mean_score = 0.021", "max_mean_score = 0.9")
    batch_house.run()
    assert len(batch_house.seen()) > 0


def test_a_lake_that_changed_after_the_check(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    *_, checked = batch_house.run("resolve_model", "check_events")
    batch_house.write(table.slice(0, 600))
    with pytest.raises(LakeError, match="changed after it was checked"):
        batch_house.run("score", facts=checked.facts)
    assert batch_house.seen() == []


def test_the_workers_check_every_event_too(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    *_, checked = batch_house.run("resolve_model", "check_events")
    batch_house.write(changed(table, "distance", 11, 30_000.0))
    found = fingerprint(batch_house.settings.lake, "flight_departures", batch_house.day)
    forged = structs.replace(checked.facts, input_fingerprint=found)
    with pytest.raises(ContractError, match=r"distance is 30000\.0, outside") as raised:
        batch_house.run("score", facts=forged)
    assert repr(table["event_id"][11].as_py()) in str(raised.value)
    assert batch_house.seen() == []
    batch_house.write(table)
    batch_house.run()
    assert [state for _, state, _ in batch_house.attempts()] == ["abandoned", "published"]


def test_a_model_that_reads_another_table(batch_house: BatchHouse) -> None:
    batch_house.write_flights()
    batch_house.edit_pipeline('lake_table = "flight_departures"', 'lake_table = "elsewhere"')
    with pytest.raises(UsageError, match=r"reads 'flight_departures', but .* 'elsewhere'"):
        batch_house.run()


def test_a_gate_for_a_field_that_does_not_exist(batch_house: BatchHouse) -> None:
    batch_house.write_flights()
    batch_house.edit_pipeline("wind_gust = 1.0", "wind_gusts = 1.0")
    with pytest.raises(UsageError, match="names 'wind_gusts', which is no field"):
        batch_house.run()


def test_what_came_from_kafka_and_is_refused_is_left_out_as_the_stream_does(
    batch_house: BatchHouse, caplog: pytest.LogCaptureFixture
) -> None:
    """Landing may have read a wider contract. Nobody can correct what lies on Kafka, and one
    event may not stop a day. Its copy that fits counts, though it comes later."""
    table = flights_of(batch_house.day)
    broken = changed(changed(table.slice(0, 2), "distance", 0, 30_000.0), "carrier", 1, None)
    for number, (part, batch) in enumerate(((broken, "landed"), (table.slice(1), "later"))):
        offsets = range(number * 10_000, number * 10_000 + part.num_rows)
        columns = (part["departed_at"], [0] * part.num_rows, list(offsets))
        for field, values in zip(LANDED, columns, strict=True):
            made = values.cast(field.type) if field.name == "_available_at" else values
            part = part.append_column(
                field, made if field.name == "_available_at" else pa.array(made, field.type)
            )
        batch_house.write(part, batch)
    *_, checked, scored = batch_house.run("resolve_model", "check_events", "score")
    assert (checked.facts.input_rows, checked.facts.input_refused) == (table.num_rows - 1, 2)
    assert "2 rows are refused" in checked.said
    assert "distance is …, outside" in caplog.text
    batch_house.run("check_predictions", "publish", facts=scored.facts)
    left_out = table["event_id"][0].as_py()
    seen = {row[0] for row in batch_house.seen()}
    assert seen == set(table["event_id"].to_pylist()) - {left_out}
