"""Declarations: whatever is wrong is said there and then, with the window's name and a fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lockstep.contracts import Contract
from lockstep.errors import UsageError
from lockstep.windows.declaration import Source, Window, bind, micros
from lockstep.windows.semantics import Condition, StateSource, WindowSet, WindowSpec
from tests.windows.window_cases import SCORED, STATE, contract

ARRIVALS = Source(STATE.source, delay="1min", clock_skew="5s")
OWN = Source(SCORED.source, delay="1min", clock_skew="5s")
CONTRACTS = {each.source: each for each in (SCORED, STATE)}


def window(**other: Any) -> Window:
    declared: dict[str, Any] = {
        **{"name": "delay_3h", "source": ARRIVALS, "by": "place", "value": "gain"},
        **{"agg": "mean", "over": "3h", "hop": "5min", "scale": 1},
    }
    return Window(**{**declared, **other})


def bound(
    *windows: Window,
    contracts: dict[str, Contract] = CONTRACTS,
    events: Contract = SCORED,
    outcomes: tuple[tuple[str, str], ...] = (),
) -> WindowSet:
    return bind(windows, events, contracts.__getitem__, outcomes=outcomes)


def changed(of: Contract, field: str, spec: dict[str, Any]) -> Contract:
    """The contract with another type for one field."""
    properties = {**of.document["properties"], field: spec}
    return Contract.from_document({**of.document, "properties": properties})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 500_000), ("5s", 5_000_000), (" 1 min", 60_000_000), ("2d", 172_800_000_000)],
)
def test_durations(text: str, expected: int) -> None:
    assert micros(text) == expected


def test_a_good_declaration_becomes_plain_values() -> None:
    made = bound(
        window(value="gain - other", where="place = 'JFK' and gain >= -2.5 AND other is not null"),
        window(name="own", source=OWN, by=("place", "number"), agg="count", value=None),
    )
    first, second = made.windows
    assert made.names == ("delay_3h", "own")
    assert (first.value, first.minus, first.by) == ("gain", "other", ("place",))
    assert (first.over, first.hop, first.scale) == (10_800_000_000, 300_000_000, 1)
    assert first.where == (
        Condition("place", "=", "JFK"),
        Condition("gain", ">=", -2.5),
        Condition("other", "is not null"),
    )
    assert (second.source, second.by, second.value) == (SCORED.source, ("place", "number"), None)
    assert made.sources[STATE.source].delay == 60_000_000
    # As the manifest holds them.
    sources = msgspec.json.encode(list(made.sources.values()))
    again = WindowSet(
        msgspec.json.decode(sources, type=list[StateSource]),
        msgspec.json.decode(msgspec.json.encode(made.windows), type=list[WindowSpec]),
    )
    assert again.fingerprint == made.fingerprint
    assert bound(window(scale=2)).fingerprint != bound(window(scale=1)).fingerprint


TEXT_NUMBER = changed(STATE, "number", {"type": "string", "maxLength": 3})

# What is wrong -> what the message must say of it, besides the window's name and a fix.
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "our name": (lambda: window(name="score"), "Lockstep itself calls something so"),
    "name": (lambda: Window("3h", ARRIVALS, "place", "count", "3h", "5min"), "name '3h'"),
    "source": (lambda: window(source="arrivals"), "its source is 'arrivals'"),
    "agg": (lambda: window(agg="median"), "agg is 'median'"),
    "over is no duration": (lambda: window(over="3 hours"), "over '3 hours' is no duration"),
    "hop is no duration": (lambda: window(hop=5), "hop 5 is no duration"),
    "over and hop": (
        lambda: window(over="3h", hop="7min"),
        "over 3h is not a multiple of hop 7min",
    ),
    "no hop": (lambda: window(hop="0s"), "not a multiple of hop 0s"),
    "no over": (lambda: window(over="0s"), "over 0s is not"),
    "no value": (lambda: window(value=None), "mean needs a value"),
    "negative scale": (lambda: window(scale=-1), "scale is -1"),
    "large scale": (lambda: window(scale=10), "scale is 10"),
    "scale of half": (lambda: window(scale=0.5), "scale is 0.5"),
    "scale of a truth": (lambda: window(scale=True), "scale is True"),
    "no scale": (
        lambda: bound(window(scale=None)),
        "value 'gain' is a number, and no scale says how many decimals count",
    ),
    "no scale of a difference": (
        lambda: bound(window(value="whole - gain", scale=None, agg="last")),
        "value 'whole - gain' is a number, and no scale",
    ),
    "no by": (lambda: window(by=()), "by is ()"),
    "by twice": (lambda: window(by=("place", "place")), "by is ('place', 'place')"),
    "unknown by": (lambda: bound(window(by="tail")), "no field 'tail'"),
    "unknown value": (lambda: bound(window(value="delay")), "no field 'delay'"),
    "unknown minus": (lambda: bound(window(value="gain - delay")), "no field 'delay'"),
    "unknown where": (lambda: bound(window(where="delay > 3")), "no field 'delay'"),
    "by a number": (lambda: bound(window(by="gain")), "by 'gain' is a number"),
    "by the time": (lambda: bound(window(by="at")), "by 'at' is a timestamp"),
    "by of two types": (
        lambda: bound(window(by="number"), contracts={STATE.source: TEXT_NUMBER}),
        "by 'number' is of type integer in case.scored, string in case.state",
    ),
    "value of text": (lambda: bound(window(value="place")), "value 'place' is a string"),
    "value of time": (lambda: bound(window(value="at")), "value 'at' is a timestamp"),
    "a sum as value": (lambda: bound(window(value="gain + other")), "value is 'gain + other'"),
    "three values": (lambda: bound(window(value="gain - other - whole")), "value is"),
    "beyond 2**53": (
        lambda: bound(
            window(scale=0), contracts={STATE.source: contract("state", largest=2.0**54)}
        ),
        "more than 2**53",
    ),
    "beyond 2**53 by its scale": (
        lambda: bound(window(scale=9), contracts={STATE.source: contract("state", largest=1e8)}),
        "with scale 9, more than 2**53",
    ),
    "where is no comparison": (lambda: bound(window(where="gain")), "where has 'gain'"),
    "where with or": (
        lambda: bound(window(where="gain > 1 or gain < 0")),
        "where has 'gain > 1 or",
    ),
    "where with null": (lambda: bound(window(where="gain = null")), "where has 'gain = null'"),
    "where of text without quotes": (
        lambda: bound(window(where="place = 3")),
        "compares the string 'place' with 3",
    ),
    "where orders text": (lambda: bound(window(where="place > 'A'")), "orders the string 'place'"),
    "where beside the enum": (
        lambda: bound(window(where="line = 'XX'")),
        "compares 'line' with 'XX'",
    ),
    "where number as text": (
        lambda: bound(window(where="gain = '3'")),
        "compares the number 'gain' with text",
    ),
    "where integer with a fraction": (
        lambda: bound(window(where="whole = 3.5")),
        "compares the integer 'whole' with 3.5",
    ),
    "where with more than an integer holds": (
        lambda: bound(window(where="whole < 9223372036854775808")),
        "compares the integer 'whole' with 9223372036854775808",
    ),
    "a name twice": (lambda: bound(window(), window(agg="sum")), "declared twice"),
    "a field's name": (lambda: bound(window(name="gain")), "has a field of that name"),
    "a source twice": (
        lambda: bound(window(source=Source(STATE.source, "2min", "5s"), name="more"), window()),
        f"source {STATE.source} is declared twice",
    ),
    "another time": (
        lambda: bound(window(source=Source(STATE.source, "1min", "5s", time="number"))),
        "could see its own event's outcome",
    ),
    "another id": (
        lambda: bound(window(source=Source(STATE.source, "1min", "5s", id="place"))),
        "is identified by 'place'",
    ),
    "another table's contract": (
        lambda: bound(window(), contracts={STATE.source: SCORED}),
        f"source {STATE.source} has the contract of {SCORED.source}",
    ),
    "the outcome as value": (
        lambda: bound(window(source=OWN), outcomes=((SCORED.source, "gain"),)),
        "value reads 'gain', the outcome of the very events that are scored",
    ),
    "the outcome as minus": (
        lambda: bound(
            window(source=OWN, value="other - gain"), outcomes=((SCORED.source, "gain"),)
        ),
        "value reads 'gain', the outcome",
    ),
    "the outcome in where": (
        lambda: bound(
            window(source=OWN, agg="count", value=None, where="gain > 15"),
            outcomes=((SCORED.source, "gain"),),
        ),
        "where reads 'gain', the outcome",
    ),
    "the outcome as key": (
        lambda: bound(
            window(source=OWN, agg="count", by="number"), outcomes=((SCORED.source, "number"),)
        ),
        "by reads 'number', the outcome",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_wrong_is_refused_with_the_window_and_a_fix(wrong: str) -> None:
    declare, said = REFUSED[wrong]
    with pytest.raises(UsageError) as raised:
        declare()
    assert raised.value.message.startswith("window "), raised.value.message
    assert any(
        name in raised.value.message for name in ("delay_3h", "3h", "gain", "other", "score")
    )
    assert said in raised.value.message
    assert raised.value.next


@pytest.mark.parametrize(
    ("delay", "skew", "said"),
    [
        ("1min", "0s", "clock_skew is 0s, less than 1ms"),
        ("5s", "5s", "delay 5s is not above clock_skew 5s"),
        ("1s", "5s", "delay 1s is not above clock_skew 5s"),
        ("soon", "5s", "delay 'soon' is no duration"),
        ("1min", "5", "clock_skew '5' is no duration"),
    ],
)
def test_a_source_that_cannot_keep_its_promise(delay: str, skew: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Source("arrivals", delay, skew)
    assert raised.value.message.startswith("source arrivals: ")
    assert said in raised.value.message
    assert raised.value.next


def test_the_outcome_of_other_events_may_be_aggregated() -> None:
    """What became of earlier flights is what windows are for."""
    assert bound(window(), outcomes=((STATE.source, "gain"),)).names == ("delay_3h",)


def test_the_contracts_own_time_and_id_may_be_named() -> None:
    source = Source(STATE.source, "1min", "5s", time="at", id="event_id")
    assert bound(window(source=source)).names == ("delay_3h",)


@pytest.mark.parametrize(
    "other",
    [
        {"agg": "count", "value": None},
        {"agg": "count", "value": "gain"},
        {"value": "whole"},
        {"value": "whole - number", "agg": "last"},
    ],
)
def test_what_has_no_decimals_to_lose_needs_no_scale(other: dict[str, Any]) -> None:
    (spec,) = bound(window(scale=None, **other)).windows
    assert spec.scale == 0
    # The manifest says it all the same, and cannot leave it out.
    document = msgspec.json.decode(msgspec.json.encode(spec))
    assert document.pop("scale") == 0
    with pytest.raises(msgspec.ValidationError, match="scale"):
        msgspec.convert(document, WindowSpec)


@pytest.mark.parametrize(
    ("recorded", "fix"), [(2, "scale=2"), (0, "scale=0"), (None, "scale=2 for")]
)
def test_who_knows_the_data_is_asked_for_the_scale(recorded: int | None, fix: str) -> None:
    asked = []

    def decimals_of(contract: Contract, field: str) -> int | None:
        asked.append((contract.source, field))
        return recorded

    with pytest.raises(UsageError) as raised:
        bind([window(scale=None)], SCORED, CONTRACTS.__getitem__, decimals_of=decimals_of)
    assert asked == [(STATE.source, "gain")]
    assert str(raised.value.next).startswith(f"in its declaration: {fix}")
    assert ("its recorded values have" in raised.value.message) == (recorded is not None)
