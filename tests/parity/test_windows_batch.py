"""Spark's window values are the reference's, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from pyspark.sql import SparkSession

from lockstep.contracts import NO_LIMITS, Contract, Validator, columns_from_arrow
from lockstep.lake.spark_judging import FOLDER, judged
from lockstep.spark.session import spark_session
from lockstep.windows.semantics import WindowSet
from lockstep.windows.spark import with_windows
from tests.contracts.test_validation import DTYPES, values
from tests.small_model import departures, flights
from tests.windows import window_cases
from tests.windows.window_cases import SCORED, History, arrow, expected_bits, histories

_SETS = 10
_CASES = 100


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("windows", "local[2]", left="nothing", next="nothing") as session:
        yield session


def drawn(strategy: Any, count: int, start: int) -> list[Any]:
    """`count` examples of a strategy: Hypothesis thinks of them, Spark sees them all at once."""
    found: list[Any] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(example: Any) -> None:
        found.append(example)

    keep()
    return found


def numbered(contract: Contract) -> Contract:
    """The contract of many cases' events at once: with the number of their case."""
    document = copy.deepcopy(dict(contract.document))
    document["properties"]["case"] = {"type": "integer", "minimum": 0, "maximum": 10_000}
    document["required"] = [*document["required"], "case"]
    return Contract.from_document(document)


def apart(windows: WindowSet) -> WindowSet:
    """The same windows, each seeing the events of its own case alone."""
    sources = [
        msgspec.structs.replace(source, contract=dict(numbered(windows.contracts[name]).document))
        for name, source in windows.sources.items()
    ]
    return WindowSet(
        sources,
        [msgspec.structs.replace(w, by=(*w.by, "case")) for w in windows.windows],
    )


def of_case(table: pa.Table, contract: Contract, case: int) -> pa.Table:
    """Rows that are told from another case's, in the order of the same rows alone."""
    ids = [f"{case:04d}{id}" for id in table[contract.id].to_pylist()]
    position = table.schema.get_field_index(contract.id)
    table = table.set_column(position, contract.id, pa.array(ids, pa.string()))
    return table.append_column("case", pa.array(np.full(table.num_rows, case)))


def state(cases: Sequence[History], windows: WindowSet) -> dict[str, pa.Table]:
    made = {}
    for name, contract in windows.contracts.items():
        table = pa.concat_tables(
            of_case(arrow(contract, history.records[name]), contract, number)
            for number, history in enumerate(cases)
        )
        # Spark stops at the first chunk that is empty.
        made[name] = table.combine_chunks().append_column(
            "_row", pa.array(np.arange(table.num_rows))
        )
    return made


def scored(cases: Sequence[History]) -> pa.Table:
    """The events to score, renamed in the order of their cases: some share an identity."""
    tables = []
    for number, history in enumerate(cases):
        events = [
            {**event, SCORED.id: f"{number:04d}{position:04d}"}
            for position, event in enumerate(history.scored)
        ]
        records = [window_cases.Record(event, event[SCORED.time]) for event in events]
        table = arrow(SCORED, records)
        tables.append(table.append_column("case", pa.array(np.full(len(events), number))))
    return pa.concat_tables(tables).combine_chunks()


def spark_bits(
    spark: SparkSession, windows: WindowSet, cases: Sequence[History]
) -> list[list[list[int]]]:
    events = scored(cases)
    frames = {name: spark.createDataFrame(table) for name, table in state(cases, windows).items()}
    made = (
        with_windows(spark.createDataFrame(events), numbered(SCORED), apart(windows), frames)
        .select(SCORED.id, "window_values")
        .toArrow()
    )
    by_id = dict(zip(made[SCORED.id].to_pylist(), made["window_values"].to_pylist(), strict=True))
    assert made.num_rows == len(by_id) == events.num_rows
    return [
        np.array(
            [by_id[f"{number:04d}{row:04d}"] for row in range(len(history.scored))], np.float32
        )
        .view(np.uint32)
        .tolist()
        for number, history in enumerate(cases)
    ]


@pytest.mark.parametrize("number", range(_SETS))
def test_spark_is_the_reference(spark: SparkSession, number: int) -> None:
    (windows, *_) = drawn(window_cases.window_sets(most=8), 6, number)[-1:]
    cases = drawn(histories(windows, never_on_kafka=True), _CASES, number)
    found = spark_bits(spark, windows, cases)
    for case, (history, bits) in enumerate(zip(cases, found, strict=True)):
        assert bits == expected_bits(windows, history), (case, windows.windows, history)


def test_spark_refuses_what_the_worker_refuses(spark: SparkSession) -> None:
    """A flight with one value after the other replaced by good and by bad ones."""
    contract = departures()
    first = columns_from_arrow(contract, flights()[contract.source].slice(0, 1))
    events = [
        {name: column[0] for name, column in first.items()} | {field.name: value}
        for field in contract.fields
        for value in drawn(values(field), 40, 1)
    ]
    columns = {
        field.name: np.array([event[field.name] for event in events], DTYPES[field.kind])
        for field in contract.fields
    }
    refused = Validator(contract).violations(columns)
    assert 0 < len(refused) < len(events)
    table = pa.table(
        {
            field.name: pa.array(columns[field.name]).cast(
                contract.arrow_schema.field(field.name).type
            )
            for field in contract.fields
        }
    ).append_column("_n", pa.array(np.arange(len(events))))
    # A time that is on no calendar is in no day's folder.
    times = np.datetime64("1970-01-01T00:00:00.000000") + columns[contract.time].astype("m8[us]")
    days = [f"date={day}" for day in times.astype("M8[D]").astype(str).tolist()]
    table = table.append_column(FOLDER, pa.array(days))
    table = table.filter(pa.array([len(day) == len("date=2013-01-01") for day in days]))
    held = table["_n"].to_pylist()
    none = pa.nulls(table.num_rows, pa.timestamp("us", "UTC"))
    records = spark.createDataFrame(table.append_column("_available_at", none))
    valid = set(judged(records, contract, NO_LIMITS).toArrow()["_n"].to_pylist())
    assert set(held) & refused.keys()
    wrong = [events[n] for n in held if (n in valid) == (n in refused)]
    assert not wrong
