"""Window cases for every engine's tests: declarations, state records, scored events.

    windows = data.draw(window_sets())
    history = data.draw(histories(windows))
    expected(windows, history)        # float32[events, windows], by the reference

Everything is small and near an edge: few keys, few ids, times on a grid of quarter seconds and
one microsecond beside it, around 1970, before it and long after. A record is decoded from two
integers, so that a case costs Hypothesis little and shrinks to plain zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from lockstep.contracts import Contract
from lockstep.windows.declaration import Source, Window, bind
from lockstep.windows.reference import Record, window_values
from lockstep.windows.semantics import StateSource, WindowSet

__all__ = [
    "SCORED",
    "STATE",
    "History",
    "arrow",
    "columns",
    "contract",
    "event_columns",
    "expected",
    "expected_bits",
    "histories",
    "window_sets",
]

_GRID = 250_000
_BASES = (0, 1_372_680_000_000_000, -86_400_000_000 * 365)
PLACES = ("JFK", "é", "JFK", None)
LINES = ("AA", "B6")
NUMBERS = (0, 7, 0)
# In UTF-8 the last one is the greatest; in UTF-16 the one before it is.
IDS = ("a", "b", "ab", "é", "z", "\uff5e", "\U0001d11e")
GAINS = (None, 0.05, 0.15, -0.25, 2.5, -1000.0, 1000.0, 0.1, 33.333, -0.0, 1e-9)
OTHERS = (None, 0.0, 0.5, -7.25, 999.999, 12.0)
WHOLES = (-(10**6), -3, 0, 1, 2, 10**6)
WHERES = (
    *(None,) * 8,
    "place = 'JFK'",
    "place != 'JFK' and gain >= 0",
    "line = 'AA'",
    "number > -1",
    "gain is null",
    "other is not null and place is not null",
    "place is null",
    "gain < 2.5",
    "gain != 0.1",
    "whole <= 1 and other > -8",
)
VALUES = ("gain", "other", "whole", "gain - other", "whole - gain")
BYS: tuple[tuple[str, ...], ...] = (
    ("place",),
    ("number",),
    ("place", "line"),
    ("number", "place"),
    ("line",),
)
SPANS = (
    ("500ms", 1),
    ("1s", 1),
    ("1s", 3),
    ("2s", 2),
    ("3s", 4),
    ("250ms", 40),
    ("1s", 12),
    ("4s", 5),
)
LATENESS = (("2ms", "1ms"), ("1s", "250ms"), ("1500ms", "1s"), ("5s", "1ms"))
AGGREGATES = ("count", "sum", "mean", "min", "max", "last")


def contract(name: str, *, largest: float = 1000.0) -> Contract:
    """A contract of events NAME in the lake table case_NAME; `largest` bounds gain and other."""
    number = {"minimum": -largest, "maximum": largest}
    return Contract.from_document(
        {
            "x-lockstep": {
                "name": f"case.{name}",
                "version": 1,
                "source": f"case_{name}",
                "id": "event_id",
                "time": "at",
                "entity": "place",
            },
            "properties": {
                "event_id": {"type": "string", "maxLength": 8},
                "at": {
                    "type": "integer",
                    "x-unit": "timestamp-micros",
                    "minimum": -(10**16),
                    "maximum": 10**17,
                },
                "place": {"type": ["string", "null"], "maxLength": 4},
                "line": {"type": "string", "enum": list(LINES)},
                "number": {"type": "integer", "minimum": -10, "maximum": 10},
                "gain": {"type": ["number", "null"], **number},
                "other": {"type": "number", **number},
                "whole": {"type": "integer", "minimum": -(10**6), "maximum": 10**6},
            },
            "required": ["event_id", "at", "place", "line", "number", "gain", "whole"],
        }
    )


SCORED, STATE = contract("scored"), contract("state")
_CONTRACTS = {each.source: each for each in (SCORED, STATE)}


@dataclass(frozen=True)
class History:
    """What lies in the log, and what is to be scored."""

    records: Mapping[str, Sequence[Record]]
    """By source. Records of one partition are in offset order; copies share a partition."""
    scored: Sequence[Mapping[str, Any]]


@st.composite
def window_sets(draw: st.DrawFn, *, most: int = 4) -> WindowSet:
    """One to `most` windows over one or two sources, one of which may be the scored events."""
    sources = {
        name: Source(name, *LATENESS[draw(st.integers(0, len(LATENESS) - 1))])
        for name in _CONTRACTS
    }
    windows = []
    choices = draw(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=most))
    for n, choice in enumerate(choices):
        agg, value, by, (hop, hops), where, scale, own = _chosen(
            choice, AGGREGATES, (*VALUES, None), BYS, SPANS, WHERES, (0, 1, 2), (False, False, True)
        )
        if value is None and agg != "count":
            value = "gain"
        number = int(hop.rstrip("ms")) * (1 if hop.endswith("ms") else 1000)
        windows.append(
            Window(
                f"w{n}",
                sources[SCORED.source if own else STATE.source],
                by=by if len(by) > 1 else by[0],
                agg=agg,
                over=f"{number * hops}ms",
                hop=hop,
                value=value,
                scale=scale,
                where=where,
            )
        )
    return bind(windows, SCORED, _CONTRACTS.__getitem__)


_PAIR = st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1))


@st.composite
def histories(
    draw: st.DrawFn, windows: WindowSet, *, never_on_kafka: bool = False, most: int = 24
) -> History:
    """Records of every source, and events to score.

    They hold copies (also ones with other contents), ties, nulls, wrong clocks and late ones,
    in the order of their times or in none. With `never_on_kafka` some have no partition.
    """
    base = _BASES[draw(st.integers(0, len(_BASES) - 1))]
    ordered, fewest = draw(st.booleans()), draw(st.integers(0, 1)) * most // 2
    records = {
        name: _records(
            source,
            windows.contracts[name],
            base,
            draw(st.lists(_PAIR, min_size=fewest, max_size=most)),
            ordered=ordered,
            never_on_kafka=never_on_kafka,
        )
        for name, source in windows.sources.items()
    }
    scored = [
        _event(SCORED, base, *pair, ticks=60)
        for pair in draw(st.lists(_PAIR, min_size=1, max_size=6))
    ]
    return History(records, scored)


def expected(windows: WindowSet, history: History) -> np.ndarray[Any, Any]:
    """The reference's answer: float32[events, windows]."""
    rows = [
        window_values(windows, history.records, event[SCORED.time], event)
        for event in history.scored
    ]
    return np.array(rows, np.float32).reshape(len(rows), len(windows))


def expected_bits(windows: WindowSet, history: History) -> list[list[int]]:
    """The same as bit patterns, so that NaN equals NaN and -0.0 does not equal 0.0."""
    found: list[list[int]] = expected(windows, history).view(np.uint32).tolist()
    return found


def event_columns(contract: Contract, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Events as EventDecoder's columns."""
    made: dict[str, Any] = {}
    for field in contract.fields:
        values = [event.get(field.name) for event in events]
        if field.kind == "string":
            made[field.name] = np.empty(len(values), object)
            made[field.name][:] = [value or "" for value in values]
        elif field.kind == "number":
            made[field.name] = np.array([np.nan if v is None else v for v in values], np.float64)
        else:
            made[field.name] = np.array(values, np.int64)
    return made


def columns(contract: Contract, records: Sequence[Record]) -> tuple[dict[str, Any], Any]:
    """Records as columns, and their `available_at`."""
    available = np.array([record.available_at for record in records], np.int64)
    return event_columns(contract, [record.event for record in records]), available


def arrow(contract: Contract, records: Sequence[Record]) -> pa.Table:
    """Records as they lie in the lake, with the three columns that landing adds."""
    names = [field.name for field in contract.fields]
    data = {name: [record.event.get(name) for record in records] for name in names}
    kafka = [record.partition is not None for record in records]
    data["_available_at"] = [
        record.available_at if was else None for record, was in zip(records, kafka, strict=True)
    ]
    data["_kafka_partition"] = [record.partition for record in records]
    data["_kafka_offset"] = [record.offset for record in records]
    schema = contract.arrow_schema
    for name, kind in (
        ("_available_at", pa.timestamp("us", tz="UTC")),
        ("_kafka_partition", pa.int32()),
        ("_kafka_offset", pa.int64()),
    ):
        schema = schema.append(pa.field(name, kind))
    return pa.table(
        {
            field.name: pa.array(
                data[field.name], pa.int64() if pa.types.is_timestamp(field.type) else field.type
            ).cast(field.type)
            for field in schema
        },
        schema=schema,
    )


def _records(
    source: StateSource,
    contract: Contract,
    base: int,
    pairs: Sequence[tuple[int, int]],
    *,
    ordered: bool,
    never_on_kafka: bool,
) -> list[Record]:
    limit = source.delay - source.clock_skew
    lags = (
        *(0, 0, 0, limit, -source.clock_skew),
        *(limit + 1, -source.clock_skew - 1, limit - 1, 10 * source.delay),
    )
    drawn: list[tuple[dict[str, Any], int, bool]] = []
    for first, second in pairs:
        event = _event(contract, base, first, second)
        lag, copied, landed = _chosen(second // 2**11, lags, range(4), range(3))
        if copied == 1 and drawn:
            original = drawn[second % len(drawn)][0]
            event |= {name: original[name] for name in (contract.id, contract.time)}
            if second % 2:
                event = dict(original)
        drawn.append((event, lag, never_on_kafka and landed == 1))
    if ordered:
        drawn.sort(key=lambda each: each[0][contract.time])
    offsets = [0, 0]
    records = []
    for event, lag, never in drawn:
        if never:
            records.append(Record(event, event[contract.time]))
            continue
        partition = zlib.crc32(event[contract.id].encode()) % 2
        records.append(Record(event, event[contract.time] + lag, partition, offsets[partition]))
        offsets[partition] += 1
    return records


def _event(
    contract: Contract, base: int, first: int, second: int, *, ticks: int = 48
) -> dict[str, Any]:
    tick, beside, id, place, number = _chosen(
        first, range(ticks), (0, 0, 0, -1, 1), IDS, PLACES, NUMBERS
    )
    gain, other, whole, line = _chosen(second, GAINS, OTHERS, WHOLES, LINES)
    return {
        contract.id: id,
        contract.time: base + (tick - 12) * _GRID + beside,
        "place": place,
        "line": line,
        "number": number,
        "gain": gain,
        "other": other,
        "whole": whole,
    }


def _chosen(number: int, *choices: Any) -> tuple[Any, ...]:
    """One of each choice, as the digits of a number."""
    made = []
    for options in choices:
        number, digit = divmod(number, len(options))
        made.append(options[digit])
    return tuple(made)
