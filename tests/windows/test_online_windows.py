"""Online windows beside the reference: the same bits, however the log is cut and forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep.errors import ContractError
from lockstep.windows.declaration import Source, Window, bind
from lockstep.windows.online import Folded, OnlineWindows
from lockstep.windows.reference import Record, counted, window_values
from lockstep.windows.semantics import WindowSet
from tests.windows.window_cases import (
    SCORED,
    STATE,
    History,
    columns,
    contract,
    event_columns,
    expected,
    expected_bits,
    histories,
    window_sets,
)

MINUTE, HOUR = 60_000_000, 3_600_000_000
LONG_AGO = -(10**17)

cases = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)


def bits(found: np.ndarray[Any, Any]) -> list[list[int]]:
    assert found.dtype == np.float32
    listed: list[list[int]] = found.view(np.uint32).tolist()
    return listed


def ask(online: OnlineWindows, scored: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    asked = event_columns(SCORED, scored)
    return bits(online.values(asked, asked[SCORED.time]))


def fold(online: OnlineWindows, source: str, records: Sequence[Record]) -> Folded:
    made, available = columns(online.windows.contracts[source], records)
    return online.fold(source, made, available)


@st.composite
def logs(draw: st.DrawFn, history: History) -> list[tuple[str, list[Record]]]:
    """Micro-batches: all records, in the order of each partition, cut and interleaved anywhere."""
    pieces = []
    for source, records in history.records.items():
        records = list(records)
        if draw(st.booleans()):
            # One partition after the other, as a worker that catches up may read them.
            records.sort(key=lambda record: record.partition or 0)
        ends = sorted(draw(st.lists(st.integers(0, len(records)), max_size=4)))
        starts = [0, *ends]
        for n, (begin, end) in enumerate(zip(starts, [*ends, len(records)], strict=True)):
            pieces.append((n, source, records[begin:end]))
    pieces.sort(key=lambda piece: piece[0])
    return [(source, records) for _, source, records in pieces]


def so_far(windows: WindowSet, log: Iterable[tuple[str, list[Record]]]) -> dict[str, list[Record]]:
    known: dict[str, list[Record]] = {source: [] for source in windows.sources}
    for source, records in log:
        known[source].extend(records)
    return known


@settings(cases, max_examples=820)
@given(st.data())
def test_any_micro_batches_give_what_the_reference_gives(data: st.DataObject) -> None:
    """Folding and asking take turns; every answer is about what has been folded by then."""
    windows = data.draw(window_sets())
    history = data.draw(histories(windows))
    log = data.draw(logs(history))
    online = OnlineWindows(windows, complete_from=LONG_AGO)
    found = dict.fromkeys(windows.sources, 0)
    turn = data.draw(st.integers(1, 4))
    for n, (source, records) in enumerate(log):
        found[source] += fold(online, source, records).counted
        if n % turn == 0:
            known = History(so_far(windows, log[: n + 1]), history.scored[:2])
            assert ask(online, known.scored) == expected_bits(windows, known)
    assert ask(online, history.scored) == expected_bits(windows, history)
    for name, source in windows.sources.items():
        assert found[name] == len(counted(source, windows.contracts[name], history.records[name]))


@settings(cases, max_examples=720)
@given(st.data())
def test_forgetting_changes_no_later_answer(data: st.DataObject) -> None:
    """Evict before each query what it and later ones cannot see; records keep coming."""
    windows = data.draw(window_sets())
    history = data.draw(histories(windows))
    log = data.draw(logs(history))
    scored = sorted(history.scored, key=lambda event: event[SCORED.time])
    online = OnlineWindows(windows, complete_from=LONG_AGO)
    for n, event in enumerate(scored):
        share = slice(len(log) * n // len(scored), len(log) * (n + 1) // len(scored))
        for source, records in log[share]:
            fold(online, source, records)
        needed = windows.needed_from(event[SCORED.time])
        online.evict(needed)
        assert online.complete_from == needed
        known = History(so_far(windows, log[: share.stop]), scored[n:])
        assert ask(online, known.scored) == expected_bits(windows, known)
    far = 10**16
    online.evict(far)
    assert (online.cells, online.keys, online.identities) == (0, 0, 0)
    for source, records in log:
        # Copies of what was forgotten are not counted again.
        assert fold(online, source, records).counted == 0


@settings(cases, max_examples=540)
@given(st.data())
def test_a_restart_at_any_offset_gives_the_same_bits(data: st.DataObject) -> None:
    """Refold from any offset before the first record that pending events need, and go on."""
    windows = data.draw(window_sets())
    history = data.draw(histories(windows))
    pending = history.scored[: data.draw(st.integers(1, len(history.scored)))]
    needed = windows.needed_from(min(event[SCORED.time] for event in pending))
    online = OnlineWindows(windows, complete_from=needed)
    for source, records in history.records.items():
        time = windows.contracts[source].time
        for partition in (0, 1):
            of = [record for record in records if record.partition == partition]
            seen = [n for n, record in enumerate(of) if record.event[time] >= needed]
            begin = data.draw(st.integers(0, min(seen, default=len(of))))
            cut = data.draw(st.integers(begin, len(of)))
            fold(online, source, of[begin:cut])
            fold(online, source, of[cut:])
    again = History(history.records, pending)
    assert ask(online, pending) == expected_bits(windows, again)


HUGE = contract("state", largest=float(2**53))


@st.composite
def huge_cases(draw: st.DrawFn) -> tuple[WindowSet, History]:
    agg = draw(st.sampled_from(["sum", "mean", "max", "last", "count"]))
    source = Source(HUGE.source, "2ms", "1ms")
    value = draw(st.sampled_from(["gain", "gain - other"]))
    declared = [
        Window(f"w{over}", source, "place", agg, f"{over}s", "1s", value, 0) for over in (2, 1, 60)
    ]
    windows = bind(declared, SCORED, {HUGE.source: HUGE}.__getitem__)
    edges = st.sampled_from([2.0**53, -(2.0**53), 2.0**52, 1.0, -1.0, 0.0, 2.0**31, None])
    rows = draw(
        st.lists(st.tuples(edges, edges, st.integers(0, 3), st.integers(1, 600)), max_size=8)
    )
    records = []
    for gain, other, second, times in rows:
        for _ in range(times):
            event = {
                "event_id": f"{len(records)}",
                "at": second * 1_000_000,
                **{"place": "JFK", "line": "AA", "number": 0, "whole": 0},
                **{"gain": gain, "other": other},
            }
            records.append(Record(event, event["at"], 0, len(records)))
    scored = [
        {**{"event_id": "x", "at": at * 1_000_000 + 2_000, "place": "JFK"}, "line": "AA"}
        | {"number": 0, "gain": None, "other": None, "whole": 0}
        for at in range(6)
    ]
    return windows, History({HUGE.source: records}, scored)


@settings(cases, max_examples=60)
@given(huge_cases())
def test_a_sum_beyond_what_is_exact_is_the_same_error(case: tuple[WindowSet, History]) -> None:
    """Also where the sum of thousands of them has come around in int64."""
    windows, history = case
    online = OnlineWindows(windows, complete_from=0)
    fold(online, HUGE.source, list(history.records[HUGE.source]))
    for event in history.scored:
        wanted = _outcome(expected_bits, windows, History(history.records, [event]))
        assert _outcome(ask, online, [event]) == wanted


def _outcome(call: Any, *given: Any) -> Any:
    """What is returned, or what the error says."""
    try:
        return call(*given)
    except ContractError as error:
        return str(error)


def flat(agg: str, by: Any = "place", over: str = "3h", value: str | None = "gain") -> WindowSet:
    source = Source(STATE.source, "1min", "5s")
    declared = [Window("w", source, by, agg, over, "5min", value, scale=1)]
    return bind(declared, SCORED, {STATE.source: STATE}.__getitem__)


def record(
    n: int, at: int, *, place: str | None = "JFK", number: int = 0, gain: Any = 1.5
) -> Record:
    event = {"event_id": f"e{n}", "at": at, "place": place, "line": "AA", "number": number}
    return Record({**event, "gain": gain, "other": None, "whole": 0}, at, 0, n)


def test_what_became_of_each_record_is_counted() -> None:
    windows = flat("count")
    online = OnlineWindows(windows, complete_from=0)
    honest, late, ahead = record(0, HOUR), record(1, HOUR), record(2, HOUR)
    late = late._replace(available_at=HOUR + 55_000_001)
    ahead = ahead._replace(available_at=HOUR - 5_000_001)
    found = fold(online, STATE.source, [honest, late, ahead, honest, record(3, -1)])
    assert found == Folded(counted=1, copies=1, late=1, wrong_clock=1, old=1)
    assert fold(online, STATE.source, []) == Folded(0)


def test_an_unknown_source_is_a_key_error_and_one_without_windows_is_fine() -> None:
    windows = flat("count")
    online = OnlineWindows(windows, complete_from=0)
    with pytest.raises(KeyError):
        online.fold("case_elsewhere", {}, np.zeros(0, np.int64))
    bare = OnlineWindows(WindowSet(windows.sources.values(), ()), complete_from=0)
    made, available = columns(STATE, [record(0, HOUR)])
    assert bare.fold(STATE.source, made, available).counted == 1
    assert bare.values(made, made["at"]).shape == (1, 0)
    assert bare.windows.needed_from(7) == 7
    bare.evict(10 * HOUR)
    assert bare.identities == 0


def test_memory_follows_live_cells() -> None:
    """A year of ever new keys: what is kept is what the last three hours hold."""
    windows = flat("mean", by=("place", "number"))
    online = OnlineWindows(windows, complete_from=0)
    most = 0
    for hour in range(24 * 60):
        batch = [
            record(n, hour * HOUR + n % 100 * 30_000_000, number=hour * 200 + n % 200)
            for n in range(200)
        ]
        fold(online, STATE.source, batch)
        online.evict(windows.needed_from(hour * HOUR))
        most = max(most, online.keys)
        assert online.cells <= 200 * 5
        assert online.identities <= 200 * 5
    assert most <= 200 * 5
    (table,) = online._tables
    assert len(table.cells._block) < 200 * 5 * 4
    assert len(table.cells._slabs) < 200 * 5 * 5


def test_many_keys_come_and_go() -> None:
    """Codes are numbered anew when few of many keys are left, and answers stay."""
    windows = flat("last", by="number")
    online = OnlineWindows(windows, complete_from=0)
    fold(online, STATE.source, [record(n, HOUR, number=n) for n in range(6000)])
    assert online.keys == 6000
    later = [record(n, 4 * HOUR + n, number=n, gain=n / 10) for n in range(7000, 7005)]
    fold(online, STATE.source, later)
    before = online._keys[("number",)].capacity
    online.evict(windows.needed_from(5 * HOUR))
    assert online.keys == 5
    assert online._keys[("number",)].capacity < before / 100
    asked = [{**each.event, "at": 5 * HOUR} for each in later]
    found = online.values(event_columns(SCORED, asked), np.full(5, 5 * HOUR))
    assert found[:, 0].tolist() == [np.float32(n / 10) for n in range(7000, 7005)]
    fold(online, STATE.source, [record(n, 5 * HOUR, number=n) for n in range(50)])
    assert online.keys == 55


@pytest.mark.parametrize("agg", ["count", "sum", "mean", "min", "max", "last"])
def test_thousands_of_events_on_few_keys(agg: str) -> None:
    """Many cells a key, in micro-batches in and out of order, against the reference."""
    windows = flat(agg, over="12h")
    random = np.random.default_rng(7)
    times = random.integers(0, 30 * HOUR, 3000) // MINUTE * MINUTE
    order = np.argsort(times + random.integers(0, HOUR, 3000))
    records = [
        record(int(n), int(times[n]), place=("JFK", "é", "LGA")[n % 3], gain=float(n % 97) / 10)
        for n in order
    ]
    online = OnlineWindows(windows, complete_from=0)
    for begin in range(0, 3000, 170):
        fold(online, STATE.source, records[begin : begin + 170])
    scored = [
        record(0, at, place=place).event
        for at in range(0, 31 * HOUR, 4 * HOUR)
        for place in ("JFK", "é")
    ]
    wanted = [window_values(windows, {STATE.source: records}, e["at"], e) for e in scored]
    assert ask(online, scored) == bits(np.array(wanted, np.float32))
    assert expected(windows, History({STATE.source: records}, scored[:1])).shape == (1, 1)
