"""One verdict on an event, whoever reads it: JSON's decoder, Arrow's, Great Expectations.

Random contracts, and random events near their edges. `jsonschema` is the outer oracle: it knows
nothing of Lockstep.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lockstep.batch.check_events import expectations_of, sample_frame
from lockstep.contracts import ArrowDecoder, Contract, EventDecoder, to_json
from lockstep.pipeline import Gates
from tests.contracts.contract_cases import documents, events, every_pattern, keeps

CASES = pytest.mark.parametrize("amount", [60, pytest.param(3_000, marks=pytest.mark.long)])
_MOST = 65_536


@dataclass(frozen=True)
class Case:
    """A contract and events of it, as JSON objects."""

    document: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def contract(self) -> Contract:
        return Contract.from_document(self.document)

    @property
    def kept(self) -> list[bool]:
        """The oracle's verdict."""
        return [keeps(self.document, event) for event in self.events]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    document = draw(documents())
    contract = Contract.from_document(document)
    return Case(document, draw(st.lists(events(contract), min_size=4, max_size=12)))


def drawn(amount: int) -> list[Case]:
    """Every pattern on every text, and then what Hypothesis thinks of."""
    found = [Case(*every_pattern())]

    @seed(1)
    @settings(
        max_examples=amount,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def keep(case: Case) -> None:
        found.append(case)

    keep()
    return found


@CASES
def test_decoders_agree_with_the_oracle(amount):
    kept, refused = 0, 0
    for case in drawn(amount * 4):
        decoded = EventDecoder(case.contract, max_bytes=_MOST).decode(
            [json.dumps(event).encode() for event in case.events]
        )
        verdict = np.isin(np.arange(len(case.events)), list(decoded.kept)).tolist()
        assert verdict == case.kept, (case, decoded.rejected)
        kept, refused = kept + sum(verdict), refused + len(verdict) - sum(verdict)
        assert set(decoded.rejected) == {row for row, keep in enumerate(verdict) if not keep}
        of_arrow(case, decoded.columns)
    assert min(kept, refused) > amount, "the cases have enough of both"


def of_arrow(case: Case, columns: dict[str, Any]) -> None:
    """The same verdict on the same events in Arrow, and the same columns, which come back."""
    contract = case.contract
    table, rows = recorded(case)
    decoder = ArrowDecoder(contract)
    decoded = decoder.decode(table)
    kept = np.array(case.kept)
    assert list(decoded.kept) == np.flatnonzero(kept[rows]).tolist(), (case, decoded.rejected)
    same(decoded.columns, columns)
    again = EventDecoder(contract, max_bytes=_MOST).decode(
        to_json(contract, table.take(pa.array(decoded.kept, pa.int64())))
    )
    assert not again.rejected
    same(again.columns, columns)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)
        if column.dtype == np.float64:
            np.testing.assert_array_equal(np.signbit(found[name]), np.signbit(column))


def recorded(case: Case) -> tuple[pa.Table, list[int]]:
    """The events that Arrow's types can hold, and which those are. Nothing is null for absent."""
    contract = case.contract
    arrays: dict[str, list[Any]] = {field.name: [] for field in contract.fields}
    rows = []
    for row, event in enumerate(case.events):
        values = [event.get(field.name) for field in contract.fields]
        if all(map(_holds, [field.kind for field in contract.fields], values)):
            rows.append(row)
            for name, value in zip(arrays, values, strict=True):
                arrays[name].append(value)
    return pa.table(
        {
            field.name: pa.array(
                arrays[field.name], _PLAIN.get(contract.by_name[field.name].kind)
            ).cast(field.type)
            for field in contract.arrow_schema
        },
        schema=pa.schema([field.with_nullable(True) for field in contract.arrow_schema]),
    ), rows


_PLAIN = {
    "string": pa.string(),
    "integer": pa.int64(),
    "timestamp": pa.int64(),
    "number": pa.float64(),
}


def _holds(kind: str, value: Any) -> bool:
    if value is None:
        return True
    types = {"string": str, "number": (int, float)}.get(kind, int)
    return isinstance(value, types) and not isinstance(value, bool)


@CASES
def test_great_expectations_agree_with_the_oracle(amount):
    from lockstep.batch.expectations import context, gx

    gates = Gates(max_null_fraction=1)
    source = context().data_sources.add_pandas("lake")
    for number, case in enumerate(drawn(amount)[::3]):
        table, rows = recorded(case)
        frame = sample_frame(table, case.contract)
        asset = source.add_dataframe_asset(f"case{number}")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        suite = gx.ExpectationSuite("all", expectations=[*expectations_of(case.contract, gates)])
        outcome = batch.validate(suite, result_format="COMPLETE")
        bad: set[int] = set()
        for result in (each for each in outcome.results if not each.success):
            bad.update(result.result["unexpected_index_list"])
        kept = np.array(case.kept, bool)[rows]
        assert bad == set(np.flatnonzero(~kept).tolist()), case
