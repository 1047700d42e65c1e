"""Contracts: what is outside of the supported JSON Schema is refused, by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lockstep.contracts import Contract
from lockstep.errors import UsageError

PATH = Path("schemas/flight_delay/departure.v1.json")


@pytest.fixture
def document() -> dict[str, Any]:
    return json.loads(PATH.read_text())


@pytest.mark.parametrize("name", ["departure", "arrival"])
def test_the_flights_contracts_load(name):
    contract = Contract.load(Path(f"schemas/flight_delay/{name}.v1.json"))
    assert contract.by_name[contract.time].kind == "timestamp"
    assert contract.arrow_schema.field(contract.time).type == pa.timestamp("us", tz="UTC")
    assert not contract.arrow_schema.field(contract.id).nullable
    assert contract.arrow_schema.field("tailnum").nullable


def test_a_contract_survives_its_document(document):
    assert Contract.from_document(copy.deepcopy(document)) == Contract.load(PATH)


@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("seats", {"multipleOf": 2}, "keyword 'multipleOf' is not supported"),
        ("seats", {"type": "object"}, "type 'object' is not one of"),
        ("seats", {"type": ["string", "integer"]}, "is not one of"),
        ("seats", {"maximum": None}, "needs a finite minimum and maximum"),
        ("flight", {"type": ["integer", "null"]}, "only strings and numbers may be null"),
        ("carrier", {"maxLength": 0}, "a string needs maxLength or enum"),
        ("distance", {"x-unit": "timestamp-micros"}, "a timestamp-micros is an integer"),
    ],
)
def test_a_field_outside_of_the_subset_is_refused(document, field, change, said):
    document["properties"][field].update(change)
    with pytest.raises(UsageError, match=said) as refused:
        Contract.from_document(document, where="departure")
    assert field in str(refused.value)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"id": "nowhere"}, "id is 'nowhere'"),
        ({"id": "tailnum"}, "id is 'tailnum'"),
        ({"time": "flight"}, "time is 'flight'"),
        ({"entity": "nobody"}, "entity is 'nobody'"),
        ({"entity": "flight"}, "entity is 'flight', which is not a string field"),
    ],
)
def test_a_role_that_no_field_can_play_is_refused(document, about, said):
    document["x-lockstep"].update(about)
    with pytest.raises(UsageError, match=said):
        Contract.from_document(document)


@pytest.mark.parametrize("field", ["event_id", "tailnum"])
def test_what_identifies_a_row_may_not_be_sensitive(document, field):
    """Both are written to the warehouse as they are."""
    document["properties"][field]["x-sensitive"] = True
    with pytest.raises(UsageError, match=f"{field} may not be sensitive"):
        Contract.from_document(document)


def test_an_integer_that_may_be_absent_is_refused(document):
    """There is no int64 for a missing value."""
    document["required"].remove("flight")
    with pytest.raises(UsageError, match="flight: only strings and numbers may be null"):
        Contract.from_document(document)


def test_a_missing_part_is_named(document):
    del document["x-lockstep"]["source"]
    with pytest.raises(UsageError, match="'source' is missing"):
        Contract.from_document(document)


def test_files_that_are_no_contract(tmp_path):
    with pytest.raises(UsageError, match="there is no contract"):
        Contract.load(tmp_path / "nothing.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        Contract.load(broken)
