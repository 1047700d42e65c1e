"""The validator against the slowest reading of a contract: field by field, value by value."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lockstep.contracts import Contract, Validator, encode_strings
from lockstep.contracts.contract import Field

CONTRACT = Contract.load(Path("schemas/flight_delay/departure.v1.json"))


def fits(field: Field, value: Any) -> bool:
    """The oracle."""
    if field.kind != "string":
        if isinstance(value, float) and math.isnan(value):
            return field.nullable
        assert field.minimum is not None
        assert field.maximum is not None
        return field.minimum <= value <= field.maximum
    if value == "":
        return field.nullable
    if field.enum and value not in field.enum:
        return False
    if field.max_length and len(value) > field.max_length:
        return False
    if len(value) < field.min_length or "\0" in value:
        return False
    return not field.pattern or re.search(field.pattern, value) is not None


def values(field: Field) -> st.SearchStrategy[Any]:
    """Good and bad values of a field, the edges of its range among them."""
    if field.kind == "string":
        good = st.sampled_from(["AA", "EWR", "IAH", "N1", *field.enum])
        return st.one_of(good, st.just(""), st.text(max_size=70), st.just("\0A"))
    low, high = field.minimum, field.maximum
    assert low is not None
    assert high is not None
    if field.kind == "number":
        edges = [low, high, np.nextafter(low, -math.inf), np.nextafter(high, math.inf)]
        return st.one_of(st.sampled_from(edges), st.floats(), st.just(math.nan)).map(float)
    edges = [int(low), int(high), int(low) - 1, int(high) + 1]
    return st.one_of(st.sampled_from(edges), st.integers(-(2**63), 2**63 - 1))


EVENTS = st.lists(st.fixed_dictionaries({f.name: values(f) for f in CONTRACT.fields}), max_size=6)
DTYPES = {"string": object, "number": np.float64, "integer": np.int64, "timestamp": np.int64}


@given(st.lists(EVENTS, min_size=1, max_size=3))
def test_a_row_is_refused_exactly_when_a_value_does_not_fit(batches):
    # Validators remember good strings from batch to batch.
    validator, of_encoded = Validator(CONTRACT), Validator(CONTRACT)
    for events in batches:
        columns = {
            f.name: np.array([event[f.name] for event in events], DTYPES[f.kind])
            for f in CONTRACT.fields
        }
        found = validator.violations(columns)
        assert of_encoded.violations(encode_strings(columns)) == found
        for row, event in enumerate(events):
            wrong = [f.name for f in CONTRACT.fields if not fits(f, event[f.name])]
            assert (row in found) == bool(wrong)
            if wrong:
                assert any(found[row].startswith(f"{name} ") for name in wrong)


def test_a_sensitive_value_is_not_shown():
    document = dict(CONTRACT.document)
    document["properties"] = dict(document["properties"])
    document["properties"]["engine"] = {"type": "string", "maxLength": 3, "x-sensitive": True}
    contract = Contract.from_document(document)
    field = contract.by_name["engine"]
    columns = {f.name: np.array([""], object) for f in contract.fields if f.kind == "string"}
    columns["engine"] = np.array(["N14228"], object)
    numbers = [f for f in contract.fields if f.kind != "string"]
    columns |= {f.name: np.array([f.minimum], DTYPES[f.kind]) for f in numbers}
    columns |= {"event_id": np.array(["a"], object), "carrier": np.array(["AA"], object)}
    columns |= {"origin": np.array(["EWR"], object), "dest": np.array(["IAH"], object)}
    (said,) = Validator(contract).violations(columns).values()
    assert field.name in said
    assert "N14228" not in said


def test_a_sensitive_number_is_not_shown():
    document = dict(CONTRACT.document)
    document["properties"] = dict(document["properties"])
    document["properties"]["seats"] = document["properties"]["seats"] | {"x-sensitive": True}
    contract = Contract.from_document(document)
    columns = {f.name: np.array([""], object) for f in contract.fields if f.kind == "string"}
    numbers = [f for f in contract.fields if f.kind != "string"]
    columns |= {f.name: np.array([f.minimum], DTYPES[f.kind]) for f in numbers}
    columns |= {"event_id": np.array(["a"], object), "carrier": np.array(["AA"], object)}
    columns |= {"origin": np.array(["EWR"], object), "dest": np.array(["IAH"], object)}
    columns["seats"] = np.array([123456.0])
    (said,) = Validator(contract).violations(columns).values()
    assert "seats" in said
    assert "123456" not in said
