"""Arrow to columns: one representation of null, and types that are judged, not coerced."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockstep.contracts import (
    Contract,
    EncodedStrings,
    columns_from_arrow,
    encoded_columns,
    model_inputs,
)
from lockstep.errors import ContractError

CONTRACT = Contract.load(Path("schemas/flight_delay/departure.v1.json"))


def table(**replaced: pa.Array | None) -> pa.Table:
    """One event; a column given as None is left out."""
    at = datetime(2013, 10, 1, tzinfo=UTC)
    values: dict[str, Any] = {"string": "AA", "integer": 1, "number": 5.5, "timestamp": at}
    columns: dict[str, Any] = {
        field.name: pa.array([None if field.nullable else values[field.kind]], type.type)
        for field, type in zip(CONTRACT.fields, CONTRACT.arrow_schema, strict=True)
    }
    columns |= replaced
    return pa.table({name: column for name, column in columns.items() if column is not None})


def test_types_and_nulls():
    columns = columns_from_arrow(CONTRACT, table())
    assert columns["tailnum"].tolist() == [""]
    assert columns["carrier"].dtype == object
    assert np.isnan(columns["seats"]).all()
    assert columns["seats"].dtype == np.float64
    assert columns["flight"].dtype == columns["departed_at"].dtype == np.int64
    assert columns["departed_at"].tolist() == [1_380_585_600_000_000]


def test_an_optional_column_may_be_absent():
    columns = columns_from_arrow(CONTRACT, table(seats=None, tailnum=None))
    assert np.isnan(columns["seats"]).all()
    assert columns["tailnum"].tolist() == [""]


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("distance", None, "column 'distance' is missing"),
        ("distance", pa.array(["far"]), "'distance' has type string, not double"),
        ("distance", pa.array([7]), "'distance' has type int64, not double"),
        ("carrier", pa.array([7]), "'carrier' has type int64, not string"),
        ("flight", pa.array([7.5]), "'flight' has type double, not int64"),
        ("departed_at", pa.array([7]), "'departed_at' has type int64, not timestamp"),
        (
            "departed_at",
            pa.array([7], pa.timestamp("us")),
            r"has type timestamp\[us\], not timestamp\[us, tz=UTC\]",
        ),
        ("distance", pa.array([None], pa.float64()), "'distance' is null in row 0"),
    ],
)
def test_what_does_not_fit_is_named(name, column, said):
    with pytest.raises(ContractError, match=said):
        columns_from_arrow(CONTRACT, table(**{name: column}))


def test_narrower_and_finer_types_are_widened():
    columns = columns_from_arrow(
        CONTRACT,
        table(
            distance=pa.array([1.5], pa.float32()),
            flight=pa.array([7], pa.int16()),
            departed_at=pa.array([7], pa.timestamp("ms", tz="America/New_York")),
        ),
    )
    assert columns["distance"].tolist() == [1.5]
    assert columns["flight"].tolist() == [7]
    assert columns["departed_at"].tolist() == [7000]


def test_record_batches_and_several_chunks_read_alike():
    both = pa.concat_tables([table(), table()])
    from_table = columns_from_arrow(CONTRACT, both)
    from_batch = columns_from_arrow(CONTRACT, both.combine_chunks().to_batches()[0])
    for name, column in from_table.items():
        np.testing.assert_array_equal(column, from_batch[name])


def test_numbers_are_rounded_once_to_what_the_graph_reads():
    columns = {"a": np.array([0.1, np.nan]), "b": np.array([1, 2]), "c": np.array(["x", ""], "O")}
    inputs = model_inputs(columns, ["a", "b", "c"])
    assert inputs["a"].dtype == np.float32
    assert inputs["a"][0] == np.float32(0.1)
    assert inputs["b"] is columns["b"]
    assert inputs["c"] is columns["c"]


def test_encoded_columns_hold_the_same_and_each_string_once():
    table_ = pa.concat_tables(
        [table(), table(tailnum=pa.array(["N1"])), table(seats=None)], promote_options="default"
    )
    expected = columns_from_arrow(CONTRACT, table_)
    for name, column in encoded_columns(CONTRACT, table_).items():
        if CONTRACT.by_name[name].kind == "string":
            assert isinstance(column, EncodedStrings)
            assert len(column) == 3
            assert len(column.values) == len(set(expected[name]))
            assert model_inputs({name: column}, [name])[name].tolist() == expected[name].tolist()
        else:
            np.testing.assert_array_equal(column, expected[name])


@pytest.mark.parametrize("read", [columns_from_arrow, encoded_columns])
def test_a_string_that_is_no_text(read):
    end = pa.py_buffer(np.array([0, 2], np.int32))
    bytes_ = pa.StringArray.from_buffers(1, end, pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(ContractError, match="column 'tailnum' holds no text: Invalid UTF8"):
        read(CONTRACT, table(tailnum=bytes_))


@pytest.mark.parametrize(
    "strings",
    [
        pa.array(["x", "N1", "N2", "N1"]).slice(1),
        pa.array(["N1", "N2", "N1"], pa.large_string()),
        pa.chunked_array([["N1"], [], ["N2", "N1"]]),
    ],
    ids=["sliced", "large", "chunked"],
)
def test_strings_however_arrow_keeps_them(strings):
    names = CONTRACT.arrow_schema.names
    events = pa.concat_tables([table()] * 3)
    events = events.set_column(names.index("tailnum"), "tailnum", strings)
    column = encoded_columns(CONTRACT, events)["tailnum"]
    assert column.values.to_pylist() == ["N1", "N2"]
    assert column.decoded().tolist() == ["N1", "N2", "N1"]
    assert column[1:].decoded().tolist() == ["N2", "N1"]


def test_an_encoded_column_may_be_absent_and_may_have_no_rows():
    columns = encoded_columns(CONTRACT, table(tailnum=None))
    assert columns["tailnum"].decoded().tolist() == [""]
    assert encoded_columns(CONTRACT, table().slice(0, 0))["carrier"].decoded().tolist() == []
    with pytest.raises(ContractError, match="'carrier' is null in row 0"):
        encoded_columns(CONTRACT, table(carrier=pa.array([None], pa.string())))
