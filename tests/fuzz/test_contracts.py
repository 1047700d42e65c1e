"""Any bytes as a contract's file: refused with file and fix, or kept by every layer after it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from lockstep.batch.check_events import expectations_of, sample_frame
from lockstep.compiling import trace
from lockstep.contracts import ArrowDecoder, Contract, EventDecoder, columns_from_arrow, to_json
from lockstep.errors import UsageError
from lockstep.pipeline import Gates
from tests.contracts.contract_cases import documents, events, keeps
from tests.fuzz.amount import AMOUNTS, fuzz

_JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 1e300, 10**30, "", "x", "A" * 600, [], {}, [None], ["a"]),
    *("\ud800", "a\0", "string", "number", ["string", "null"], ["null"], {"type": "string"}, [[]]),
    *("score", "_x", "größe", "Add_0_C", "^[", "(?<!a)b", "a{1001}", {"a": {"b": [{"c": 1}]}}),
)
_KEYS = (
    *("score", "_x", "a.b", "", "x\ud800", "ID", "minimum", "pattern", "enum", "$ref", "maxLength"),
    *("x-unit", "x-sensitive", "type", "format", "Add_0_C", "é", "date", "window_values", "const"),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Bytes, JSON, or a good contract of which up to three things were changed."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return json.dumps(draw(_JSON)).encode()
    document = copy.deepcopy(draw(documents()))
    for _ in range(draw(st.integers(0, 3))):
        places = [*_places(document)]
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.integers(0, 3)):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[draw(st.sampled_from(_KEYS))] = parent.pop(key)
            case 2 if isinstance(parent, dict):
                parent[draw(st.sampled_from(_KEYS))] = copy.deepcopy(draw(st.sampled_from(_JUNK)))
            case _:
                parent[key] = copy.deepcopy(draw(st.sampled_from(_JUNK)))
    text = json.dumps(document)
    return text.replace("{", '{"type": "object", ', draw(st.integers(0, 1))).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything inside of a document, as what holds it and by which key."""
    keys = [*value] if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


@AMOUNTS
def test_any_file_is_refused_by_name_or_kept_by_every_layer(amount, tmp_path):
    path = tmp_path / "event.v1.json"
    seen = {"refused": 0, "kept": 0}
    tables: list[tuple[Contract, pa.Table]] = []

    def check(data: bytes, more: st.DataObject) -> None:
        path.write_bytes(data)
        loaded = _loaded(path)
        if isinstance(loaded, Contract):
            seen["kept"] += 1
            tables.append((loaded, survives(loaded, [more.draw(events(loaded)) for _ in range(3)])))
            return
        seen["refused"] += 1
        assert str(path) in loaded.message
        assert loaded.next
        assert len(str(loaded)) < 800

    fuzz(amount, check, data=files(), more=st.data())
    assert min(seen.values()) > amount / 20, seen
    # They take a second each.
    for contract, table in tables[:: len(tables) // 2]:
        _expected(contract, table)


def _loaded(path: Path) -> Contract | UsageError:
    try:
        return Contract.load(path)
    except UsageError as error:
        return error


def survives(contract: Contract, drawn: list[dict[str, Any]]) -> pa.Table:
    """Every layer that reads a contract, on events some of which keep it; those as Arrow."""
    document = dict(contract.document)
    again = msgspec.json.decode(msgspec.json.encode(document))
    assert Contract.from_document(again) == contract, "as it is in a compiled model"
    decoder = EventDecoder(contract, max_bytes=100_000)
    decoded = decoder.decode([json.dumps(event).encode() for event in drawn])
    kept = [keeps(document, event) for event in drawn]
    assert np.isin(np.arange(len(drawn)), list(decoded.kept)).tolist() == kept
    table = _recorded(contract, decoded.columns)
    assert list(ArrowDecoder(contract).decode(table).kept) == list(range(table.num_rows))
    assert not decoder.decode(to_json(contract, table)).rejected
    _answers(contract, columns_from_arrow(contract, table))
    return table


def _recorded(contract: Contract, columns: dict[str, Any]) -> pa.Table:
    arrays = []
    for field, type in zip(contract.fields, contract.arrow_schema.types, strict=True):
        column = columns[field.name]
        plain = pa.int64() if field.kind == "timestamp" else type
        arrays.append(pa.array(column.tolist(), plain, from_pandas=True).cast(type))
    return pa.Table.from_arrays(arrays, contract.arrow_schema.names)


def _expected(contract: Contract, table: pa.Table) -> None:
    """Great Expectations find nothing wrong with events that keep the contract."""
    from lockstep.batch.expectations import context, unmet

    source = context().data_sources.add_pandas("lake")
    asset = source.add_dataframe_asset("kept").add_batch_definition_whole_dataframe("all")
    batch = asset.get_batch({"dataframe": sample_frame(table, contract)})
    assert unmet(batch, expectations_of(contract, Gates(max_null_fraction=1))) == []


def _answers(contract: Contract, columns: dict[str, Any]) -> None:
    """A graph whose inputs are called like the fields answers as NumPy does."""
    numbers = [field.name for field in contract.fields if field.kind == "number"]
    if not numbers:
        return

    def features(event: Any, _: Any) -> dict[str, Any]:
        return {f"f{n}": event[name] + np.float32(1) for n, name in enumerate(numbers)}

    found = trace(features, {}, contract).reader().read(columns)
    for position, name in enumerate(numbers):
        expected = columns[name].astype(np.float32) + np.float32(1)
        np.testing.assert_array_equal(found[:, position], expected)
