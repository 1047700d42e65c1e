"""One verdict on an event, whoever reads it: JSON's decoder, Arrow's, Great Expectations, Spark.

Random contracts, and random events near their edges. `jsonschema` is the outer oracle: it knows
nothing of Lockstep. Spark is asked in a file of its own.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from lockstep.batch.check_events import expectations_of, sample_frame
from lockstep.contracts import ArrowDecoder, EventDecoder, to_json
from lockstep.pipeline import Gates
from tests.contracts.contract_cases import CASES, Case, drawn, recorded

_MOST = 65_536


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
