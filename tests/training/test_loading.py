"""Recorded events into the lake: all of them, once, and nothing the second time."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lockstep.errors import ContractError, UsageError
from lockstep.lake import days, read_partition
from lockstep.training import loading
from tests.small_model import arrivals, departures


def files(lake: str) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in Path(lake).rglob("*")
        if path.is_file()
    }


def test_each_event_is_in_the_folder_of_its_day(tiny):
    total = 0
    for contract in (departures(), arrivals()):
        for day in days(tiny.lake, contract.source):
            table = read_partition(tiny.lake, contract, day)
            found = pc.unique(table[contract.time].cast(pa.date32())).to_pylist()
            assert found == [day]
            times = table[contract.time].cast(pa.int64()).to_numpy()
            assert (times[:-1] <= times[1:]).all()
            total += table.num_rows if contract is departures() else 0
    assert total == 15_000


def test_a_second_time_nothing_is_touched(tiny):
    before = files(tiny.lake)
    said = json.loads(tiny.type("data", "tiny", "--json").stdout)
    assert said["written"] is False
    assert said["rows"]["flight_departures"] == 15_000
    assert files(tiny.lake) == before


def test_writing_it_again_gives_the_same_bytes(tiny):
    before = files(tiny.lake)
    said = json.loads(tiny.type("data", "tiny", "--again", "--json").stdout)
    assert said["written"] is True
    after = files(tiny.lake)
    assert {path: content for path, (_, content) in after.items()} == {
        path: content for path, (_, content) in before.items()
    }


class _Source:
    """A data.py that a test holds in its hand."""

    BATCH = "made"
    CONTRACTS = ("departure.v1.json",)

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def origin(self) -> str:
        return "a test"

    def tables(self, contract):
        return [self._table]


@pytest.fixture
def january(tiny) -> pa.Table:
    return read_partition(tiny.lake, departures(), date(2013, 1, 5))


def load(table: pa.Table, lake: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "load_module", lambda *_: _Source(table))
    return loading.load(str(lake), "flight_delay")


def test_a_missing_day_is_written_again(january, tmp_path, monkeypatch):
    assert load(january, tmp_path, monkeypatch).written
    assert not load(january, tmp_path, monkeypatch).written
    for path in tmp_path.rglob("*.parquet"):
        path.unlink()
    (tmp_path / "flight_departures/date=2013-01-05/batch=made").rmdir()
    (tmp_path / "flight_departures/date=2013-01-05").rmdir()
    assert load(january, tmp_path, monkeypatch).written


@pytest.mark.parametrize("note", ["", "[]", "{}", "null", '{"made_from": 1}', "[" * 9000])
def test_a_note_that_is_none_is_written_anew(january, tmp_path, monkeypatch, note):
    load(january, tmp_path, monkeypatch)
    (path,) = tmp_path.glob("_*.json")
    good = path.read_text()
    path.write_text(note)
    assert load(january, tmp_path, monkeypatch).written
    assert path.read_text() == good


def test_an_event_that_breaks_its_contract_is_named(january, tmp_path, monkeypatch):
    column = january.schema.get_field_index("wind_speed")
    winds = pa.array([1048.36, *[None] * (january.num_rows - 1)], pa.float64())
    with pytest.raises(ContractError, match=r"1 of .* wind_speed is 1048.36") as refused:
        load(january.set_column(column, "wind_speed", winds), tmp_path, monkeypatch)
    assert january["event_id"][0].as_py() in str(refused.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_data_py_raises_is_said_with_its_line(january, tmp_path, monkeypatch):
    def tables(self, contract):
        return [january["nobody"]]

    monkeypatch.setattr(_Source, "tables", tables)
    with pytest.raises(UsageError, match=r"data\.py raised KeyError: .* at \S*test_loading\.py:\d"):
        load(january, tmp_path, monkeypatch)


def test_a_use_case_without_data(tmp_path):
    with pytest.raises(UsageError, match=r"there is no models/nobody/data.py"):
        loading.load(str(tmp_path), "nobody")


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (lambda table: [], "returns 0 tables; CONTRACTS names 1: departure.v1.json"),
        (lambda table: [table, table], "returns 2 tables; CONTRACTS names 1"),
        (lambda table: table.to_pandas(), "returns 21 tables"),
        (lambda table: [table.to_pandas()], "returns DataFrame for flight_delay.departure"),
        (lambda table: None, "returns NoneType for flight_delay.departure"),
        (lambda table: [table.slice(0, 0)], "returns no events for flight_delay.departure"),
        (lambda table: [table["nobody"]], "raised KeyError"),
    ],
)
def test_other_tables_than_the_contracts_are_refused_before_anything_is_written(
    january, tmp_path, monkeypatch, tables, said
):
    source = _Source(january)
    source.tables = lambda contract: tables(january)
    monkeypatch.setattr(loading, "load_module", lambda *_: source)
    with pytest.raises(UsageError) as refused:
        loading.load(str(tmp_path), "flight_delay")
    assert said in refused.value.message
    assert "tables() of models/flight_delay/data.py" in refused.value.message
    assert refused.value.next
    assert not list(tmp_path.iterdir())
