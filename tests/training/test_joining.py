"""Which outcome is whose, against the rules said once more, row by row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lockstep.contracts import Contract
from lockstep.lake import LANDED
from lockstep.training.joining import outcomes_of

NOON = 1_372_680_000_000_000


def contract(name: str) -> Contract:
    time = {"type": "integer", "x-unit": "timestamp-micros"}
    return Contract.from_document(
        {
            "x-lockstep": {
                **{"name": f"case.{name}", "version": 1, "source": name},
                **{"id": "key", "time": "at"},
            },
            "type": "object",
            "required": ["key", "at"],
            "properties": {
                "key": {"type": "string", "maxLength": 10},
                "at": {**time, "minimum": 0, "maximum": 4_102_444_800_000_000},
            },
        }
    )


EVENTS, OUTCOMES = contract("events"), contract("outcomes")
Row = tuple[str, int]


def table(of: Contract, rows: list[Row], available: list[int | None] | None = None) -> pa.Table:
    """Rows at microseconds after noon, in chunks as the lake's days come."""
    columns = {
        "key": pa.array([key for key, _ in rows], pa.string()),
        "at": pa.array([NOON + at for _, at in rows], pa.int64()).cast(pa.timestamp("us", "UTC")),
    }
    made = pa.table(columns)
    if available is not None:
        stamps = [None if at is None else NOON + at for at in available]
        made = made.append_column(
            LANDED.field(0), pa.array(stamps, pa.int64()).cast(LANDED.field(0).type)
        )
    return pa.concat_tables([made.slice(0, len(rows) // 2), made.slice(len(rows) // 2)])


def joined(events: list[Row], outcomes: list[tuple[str, int, int | None]]) -> Any:
    truth = table(OUTCOMES, [row[:2] for row in outcomes], [row[2] for row in outcomes])
    found, lag = outcomes_of(EVENTS, table(EVENTS, events), OUTCOMES, truth)
    return list(zip(found.tolist(), lag.tolist(), strict=True))


def slowly(events: list[Row], outcomes: list[tuple[str, int, int | None]]) -> list[tuple[int, int]]:
    """For each event: its own outcomes, the first of them; else one from before all events."""
    made = []
    for key, at in events:
        mine = []
        for row, (id, time, available) in enumerate(outcomes):
            owners = [when for name, when in events if name == id == key and when <= time]
            if owners and max(owners) == at:
                mine.append((time, row, max(time, time if available is None else available)))
        if mine:
            _, row, known_at = min(mine)
            made.append((row, known_at - at))
            continue
        first = all(when >= at for name, when in events if name == key)
        stray = [(t, row) for row, (id, t, _) in enumerate(outcomes) if id == key and t < at]
        made.append((max(stray)[1], max(stray)[0] - at) if first and stray else (-1, 0))
    return made


def test_each_rule_once() -> None:
    assert joined([("a", 10)], [("a", 10, None)]) == [(0, 0)]
    assert joined([("a", 10)], [("a", 9, None)]) == [(0, -1)]
    assert joined([("a", 10)], [("b", 11, None)]) == [(-1, 0)]
    # The first of several; and known when its record became readable, if that was later.
    assert joined([("a", 10)], [("a", 30, None), ("a", 20, 500)]) == [(1, 490)]
    assert joined([("a", 10)], [("a", 20, 18)]) == [(0, 10)]
    # An id that comes again has an outcome of its own, and does not take the former one's.
    assert joined([("a", 10), ("a", 50)], [("a", 60, None), ("a", 40, None)]) == [(1, 30), (0, 10)]
    assert joined([("a", 10), ("a", 50)], [("a", 60, None)]) == [(-1, 0), (0, 10)]
    assert joined([("a", 10), ("a", 50)], [("a", 40, None)]) == [(0, 30), (-1, 0)]


_ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), unique=True, max_size=12)
_AVAILABLE = st.one_of(st.none(), st.integers(0, 20))


@given(_ROWS, st.data())
def test_the_join_is_the_rules(events: list[Row], data: st.DataObject) -> None:
    outcomes = [(*row, data.draw(_AVAILABLE)) for row in data.draw(_ROWS)]
    assert joined(events, outcomes) == slowly(events, outcomes)
