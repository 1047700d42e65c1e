"""Windows at a cut are the reference's over the records below it, whatever the copies and ties."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lockstep.audit.at_cut import at_cut
from lockstep.windows.reference import window_values
from tests.parity.test_windows_batch import apart, drawn, numbered, scored, state
from tests.windows.window_cases import SCORED, History, histories, window_sets

_CASES = 40


def below(history: History, cut: dict[str, list[int]]) -> dict[str, list]:
    return {
        source: [
            record
            for record in records
            if record.partition is not None and record.offset < cut[source][record.partition]
        ]
        for source, records in history.records.items()
    }


@pytest.mark.parametrize("number", range(2))
def test_at_cut_is_the_reference(spark: SparkSession, number: int) -> None:
    (windows, *_) = drawn(window_sets(most=6), 6, 100 + number)[-1:]
    cases = drawn(histories(windows, never_on_kafka=True), _CASES, 100 + number)
    chance = random.Random(number)
    cuts, expected = [], []
    for history in cases:
        for event in history.scored:
            cut = {
                source: [
                    chance.randint(0, sum(r.partition == partition for r in records))
                    for partition in range(2)
                ]
                for source, records in history.records.items()
            }
            cuts.append(cut)
            expected.append(window_values(windows, below(history, cut), event[SCORED.time], event))
    rows = np.arange(len(cuts))
    events = (
        scored(cases)
        .append_column("_row", pa.array(rows))
        .append_column("_cut", pa.array(rows.astype(np.int32)))
    )
    found = at_cut(
        spark,
        spark.createDataFrame(events),
        numbered(SCORED),
        apart(windows),
        {name: spark.createDataFrame(t) for name, t in state(cases, windows).items()},
        cuts,
        {source: source for source in windows.sources},
        len(rows),
    )
    assert found.view(np.uint32).tolist() == np.array(expected, np.float32).view(np.uint32).tolist()
