"""The state events' entrances: any value is folded by a worker and landed, or refused by both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from lockstep.contracts import Judge, Limits, readable_at
from lockstep.landing.tasks import LandingAssignment, land_batches
from lockstep.windows.online import OnlineWindows
from tests.contracts.test_decoding import GOOD as DEPARTURE
from tests.fuzz.amount import AMOUNTS, fuzz
from tests.fuzz.test_event_values import values_like
from tests.small_model import arrivals, departures, windows

_MAX_BYTES = 65_536
_AT_MS = DEPARTURE["departed_at"] // 1000
_GOOD = {
    **{name: DEPARTURE[name] for name in ("event_id", "carrier", "tailnum", "origin", "dest")},
    **{"arrived_at": _AT_MS * 1000, "arr_delay": 12.5, "dep_delay": -3, "air_time": None},
}


@AMOUNTS
def test_any_value_is_folded_and_landed_or_refused_by_both(amount: int, tmp_path: Path) -> None:
    source = arrivals().source
    limits = windows().sources[source].limits
    judge = Judge(arrivals(), limits, max_bytes=_MAX_BYTES)
    landing = LandingAssignment(
        lake=str(tmp_path),
        topic_id="a topic",
        contract=dict(arrivals().document),
        max_bytes=_MAX_BYTES,
        limits=Limits(clock_skew=limits.clock_skew),
    )
    scored = Judge(departures()).records([json.dumps(DEPARTURE).encode()], np.zeros(1, np.int64))
    asked = np.array([(_AT_MS + 600_000) * 1000])

    def check(values: list[bytes | None], stamps: list[int]) -> None:
        stamps = [*stamps, *[_AT_MS] * len(values)][: len(values)]
        judged = judge.records(values, readable_at(np.array(stamps, np.int64)))
        assert len(judged.kept) + len(judged.refused) == len(values)
        online = OnlineWindows(windows(), complete_from=(_AT_MS - 86_400_000) * 1000)
        found = online.fold(source, judged.columns, judged.available_at)
        assert found.wrong_clock == 0
        assert found.counted + found.copies + found.late + found.old == len(judged.kept)
        assert online.values(scored.columns, asked).shape == (1, len(windows()))

        batch = pa.record_batch(
            {
                "partition": pa.array([0] * len(values), pa.int32()),
                "first": pa.array([0] * len(values), pa.int64()),
                "following": pa.array([len(values)] * len(values), pa.int64()),
                "offset": pa.array(range(len(values)), pa.int64()),
                "timestamp_ms": pa.array(stamps, pa.int64()),
                "value": pa.array(values, pa.binary()),
                "unread": pa.nulls(len(values), pa.string()),
            }
        )
        outcomes: list[Any] = []
        for outcome in land_batches(landing, [batch]):
            outcomes += outcome.to_pylist()
        landed = sum(row["rows"] for row in outcomes if row["day"] is not None)
        refused = [row for row in outcomes if row["day"] is None]
        assert (landed, sum(row["rows"] for row in refused)) == (
            len(judged.kept),
            len(judged.refused),
        )
        assert all(row["reason"] and row["example"].isprintable() for row in refused)

    fuzz(
        amount,
        check,
        values=st.lists(values_like(_GOOD), min_size=1, max_size=4),
        stamps=st.lists(
            st.integers(_AT_MS - 10**7, _AT_MS + 10**7)
            | st.sampled_from([-1, 0, -(2**63), 2**63 - 1, 2**62]),
            max_size=6,
        ),
    )
