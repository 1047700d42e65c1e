"""What a model declares of its windows, and the checks that happen there and then.

    arrivals = Source("flight_arrivals", delay="1min", clock_skew="5s")
    Window("origin_delay_3h", arrivals, by="origin", value="arr_delay", agg="mean",
           over="3h", hop="5min", scale=1)

`bind` ties declarations to contracts. Whatever is wrong is a UsageError that names the window
and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from lockstep.contracts import Contract, Field, is_reserved
from lockstep.errors import UsageError
from lockstep.windows.semantics import (
    MOST_SCALE,
    Aggregate,
    Condition,
    Operator,
    StateSource,
    WindowSet,
    WindowSpec,
)

__all__ = ["Source", "Window", "bind", "micros"]

_UNITS = {"ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(\d+)\s*(ms|s|min|h|d)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CONDITION = re.compile(
    r"\s*(?P<field>\w+)\s*(?:(?P<null>is\s+(?:not\s+)?null)"
    r"|(?P<operator>!=|<=|>=|=|<|>)\s*(?P<literal>'[^']*'|-?\d+(?:\.\d+)?))\s*",
    re.IGNORECASE,
)
_EXACT = 2**53
"""Integers up to it are exact in float64: sums stay below, and so must a single value."""
_LEAST_SKEW = 1_000
"""Kafka's timestamps are milliseconds, rounded down: an honest clock may look so far ahead."""


def micros(duration: str) -> int:
    """Microseconds of "500ms", "5s", "1min", "3h" or "2d". Raises UsageError for other text."""
    found = _DURATION.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if found is None:
        raise UsageError(
            f"{duration!r} is no duration", next='write a number and ms, s, min, h or d: "5min"'
        )
    return int(found[1]) * _UNITS[found[2]]


def _duration(of: str, text: str) -> int:
    """The same for a declaration, which the error then names."""
    try:
        return micros(text)
    except UsageError as error:
        raise UsageError(f"{of} {error.message}", next=error.next) from None


@dataclass(frozen=True)
class Source:
    """State events: a lake table, and how late its records may be and still count.

    >>> arrivals = Source("flight_arrivals", delay="1min", clock_skew="5s")
    """

    name: str
    """The lake table: `source` of the events' contract."""
    delay: str
    """How long windows wait for events: a whole number and ms, s, min, h or d."""
    clock_skew: str
    """How far a producer's clock may be ahead, at least 1ms and below `delay`."""
    time: str | None = None
    """A field; the contract's own when left out."""
    id: str | None = None
    """The same."""

    def __post_init__(self) -> None:
        delay = _duration(f"source {self.name}: delay", self.delay)
        skew = _duration(f"source {self.name}: clock_skew", self.clock_skew)
        if skew < _LEAST_SKEW:
            raise UsageError(
                f"source {self.name}: clock_skew is {self.clock_skew}, less than 1ms, which is"
                " what Kafka's timestamps can tell apart",
                next='clock_skew="5s"',
            )
        if delay <= skew:
            raise UsageError(
                f"source {self.name}: delay {self.delay} is not above clock_skew"
                f" {self.clock_skew}: no event could be on time for sure",
                next="a longer delay or a smaller clock_skew",
            )


@dataclass(frozen=True)
class Window:
    """An aggregate over a source's events of the last `over`, in steps of `hop`.

    >>> arrivals = Source("flight_arrivals", delay="1min", clock_skew="5s")
    >>> delay = Window(
    ...     "origin_delay_3h",
    ...     arrivals,
    ...     by="origin",
    ...     value="arr_delay",
    ...     agg="mean",
    ...     over="3h",
    ...     hop="5min",
    ...     scale=0,
    ... )
    >>> Window("late_3h", arrivals, by=("origin", "carrier"), agg="count", over="3h", hop="7min")
    Traceback (most recent call last):
    lockstep.errors.UsageError: window late_3h: over 3h is not a multiple of hop 7min
    next: in its declaration: a hop that divides over, such as over 3h and hop 5min
    """

    name: str
    """What `features` calls it in the event."""
    source: Source
    by: str | tuple[str, ...]
    """One or several fields, strings or integers, that scored and state events have in common."""
    agg: Aggregate
    """count, sum, mean, min, max or last."""
    over: str
    """A duration, a multiple of `hop`."""
    hop: str
    """A duration: windows end at multiples of it."""
    value: str | None = None
    """A number or integer field, or the difference of two: "dep_delay - arr_delay". A count may
    do without, and counts events then."""
    scale: int | None = None
    """How many decimals of the value count, 0 to 9: values are rounded to so many, and added up as
    integers. It must be given for a number, unless it is only counted; integers have none."""
    where: str | None = None
    """Which events count: comparisons of their fields with literals, joined by `and`:
    "origin = 'JFK' and air_time is not null"."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            self._refuse(f"the name {self.name!r} is none", "lower-case letters, digits and _")
        if is_reserved(self.name):
            self._refuse("Lockstep itself calls something so", f"a name such as own_{self.name}")
        if not isinstance(self.source, Source):
            self._refuse(f"its source is {self.source!r}", "a Source(...)")
        over = _duration(f"window {self.name}: over", self.over)
        hop = _duration(f"window {self.name}: hop", self.hop)
        if self.agg not in get_args(Aggregate):
            known = ", ".join(get_args(Aggregate))
            self._refuse(f"agg is {self.agg!r}", f"one of {known}")
        if hop <= 0 or over <= 0 or over % hop:
            self._refuse(
                f"over {self.over} is not a multiple of hop {self.hop}",
                "a hop that divides over, such as over 3h and hop 5min",
            )
        if self.agg != "count" and self.value is None:
            self._refuse(f"{self.agg} needs a value", 'value="FIELD"')
        if self.scale is not None and (
            type(self.scale) is not int or not 0 <= self.scale <= MOST_SCALE
        ):
            self._refuse(f"scale is {self.scale!r}", f"0 to {MOST_SCALE} decimals")
        if not self.keys or len(set(self.keys)) != len(self.keys):
            self._refuse(f"by is {self.by!r}", "one field, or several different ones")

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise UsageError(f"window {self.name}: {what}", next=f"in its declaration: {fix}")


def bind(
    windows: Sequence[Window],
    events: Contract,
    contract_of: Callable[[str], Contract],
    *,
    outcomes: Iterable[tuple[str, str]] = (),
    decimals_of: Callable[[Contract, str], int | None] = lambda *_: None,
) -> WindowSet:
    """Tie windows to the contract of the scored events and those of their sources.

    `contract_of` finds the contract of a lake table. `outcomes` are (source, field) that say
    what became of an event, such as a label's. `decimals_of` says how many decimals the recorded
    values of a field have, where somebody knows: asked for a window that should say its scale.
    Raises UsageError naming the window, the field and the fix.
    """
    sources: dict[str, tuple[Source, Contract]] = {}
    specs: list[WindowSpec] = []
    for window in windows:
        source = window.source
        if source.name not in sources:
            sources[source.name] = (source, contract_of(source.name))
        known, contract = sources[source.name]
        if known != source:
            window._refuse(
                f"source {source.name} is declared twice, with other values: {known}, {source}",
                "one Source for all windows over it",
            )
        _check_source(window, contract)
        if window.name in events.by_name:
            window._refuse(f"{events.name} has a field of that name", "a name that no field has")
        if window.name in {spec.name for spec in specs}:
            window._refuse("declared twice", "a name of its own")
        specs.append(_spec(window, events, contract, set(outcomes), decimals_of))
    return WindowSet(
        [
            StateSource(
                name,
                micros(source.delay),
                micros(source.clock_skew),
                dict(contract.document),
            )
            for name, (source, contract) in sources.items()
        ],
        specs,
    )


def _check_source(window: Window, contract: Contract) -> None:
    source = window.source
    if contract.source != source.name:
        window._refuse(
            f"source {source.name} has the contract of {contract.source}", "the lake table's name"
        )
    if source.time not in (None, contract.time):
        # Any other time could be before the moment at which the values were known.
        window._refuse(
            f"source {source.name} is timed by {source.time!r}, but an event of {contract.name}"
            f" happens at {contract.time!r}: the window could see its own event's outcome",
            f'time="{contract.time}"',
        )
    if source.id not in (None, contract.id):
        window._refuse(
            f"source {source.name} is identified by {source.id!r}, {contract.name} by"
            f" {contract.id!r}",
            f'id="{contract.id}"',
        )


def _spec(
    window: Window,
    events: Contract,
    contract: Contract,
    outcomes: set[tuple[str, str]],
    decimals_of: Callable[[Contract, str], int | None],
) -> WindowSpec:
    for name in window.keys:
        scored, state = _field(window, events, name), _field(window, contract, name)
        for field, of in ((scored, events), (state, contract)):
            if field.kind not in ("string", "integer"):
                window._refuse(
                    f"by {name!r} is a {field.kind} in {of.name}", "a string or an integer field"
                )
        if scored.kind != state.kind:
            window._refuse(
                f"by {name!r} is of type {scored.kind} in {events.name}, {state.kind} in"
                f" {contract.name}",
                "fields of the same type",
            )
    value, minus = _value(window)
    values = [_field(window, contract, name) for name in (value, minus) if name]
    for field in values:
        if field.kind not in ("number", "integer"):
            window._refuse(
                f"value {field.name!r} is a {field.kind}", "a number or an integer field"
            )
    scale = _scale(window, contract, values, decimals_of)
    for field in values:
        name = field.name
        if field.sensitive and window.agg != "count":
            # Of one event in the window, each of them is the value itself.
            window._refuse(
                f"the {window.agg} of {name!r} is sensitive, and window values are stored",
                'agg="count", or another field',
            )
        assert field.minimum is not None and field.maximum is not None  # noqa: S101, PT018
        largest = max(abs(field.minimum), abs(field.maximum)) * 10**scale
        if largest > _EXACT:
            window._refuse(
                f"value {name!r} goes up to {largest:.0f} with scale {scale}, more than"
                " 2**53, where sums stop being exact",
                "a smaller scale, or a narrower range in the contract",
            )
    where = tuple(_conditions(window, contract))
    read = {"by": window.keys, "value": (value, minus), "where": [each.field for each in where]}
    for role, names in read.items():
        for read_field in names:
            if contract.source == events.source and (contract.source, read_field) in outcomes:
                window._refuse(
                    f"{role} reads {read_field!r}, the outcome of the very events that are scored:"
                    " it is not known when they happen",
                    "a source whose events say what became of others, when it is known",
                )
    return WindowSpec(
        name=window.name,
        source=contract.source,
        by=window.keys,
        agg=window.agg,
        over=micros(window.over),
        hop=micros(window.hop),
        value=value,
        minus=minus,
        scale=scale,
        where=where,
    )


def _value(window: Window) -> tuple[str | None, str | None]:
    if window.value is None:
        return None, None
    parts = [part.strip() for part in window.value.split(" - ")]
    if len(parts) > 2 or not all(re.fullmatch(r"\w+", part) for part in parts):
        window._refuse(f"value is {window.value!r}", 'a field, or "FIELD - FIELD"')
    return parts[0], parts[1] if len(parts) == 2 else None


def _scale(
    window: Window,
    contract: Contract,
    values: Sequence[Field],
    decimals_of: Callable[[Contract, str], int | None],
) -> int:
    """How many decimals count. Only a number has any to lose: there it must be said."""
    numbers = [field.name for field in values if field.kind == "number"]
    if window.scale is None and window.agg != "count" and numbers:
        said = f"value {window.value!r} is a number, and no scale says how many decimals count"
        found = [decimals_of(contract, name) for name in numbers]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            window._refuse(said, "scale=2 for hundredths, scale=0 for whole numbers")
        needed = max(known)
        window._refuse(f"{said}; its recorded values have {needed}", f"scale={needed}")
    return window.scale or 0


def _conditions(window: Window, contract: Contract) -> Iterable[Condition]:
    if window.where is None:
        return
    for text in re.split(r"\s+and\s+", window.where, flags=re.IGNORECASE):
        found = _CONDITION.fullmatch(text)
        if found is None:
            window._refuse(
                f"where has {text!r}",
                "FIELD = LITERAL (or !=, <, <=, >, >=, is null, is not null), joined by and",
            )
        field = _field(window, contract, found["field"])
        if found["null"]:
            operator: Any = " ".join(found["null"].lower().split())
            yield Condition(field.name, operator)
            continue
        yield Condition(field.name, *_comparison(window, field, found))


def _comparison(
    window: Window, field: Field, found: re.Match[str]
) -> tuple[Operator, str | int | float]:
    operator: Any = found["operator"]
    literal = found["literal"]
    if field.kind == "string":
        if not literal.startswith("'"):
            window._refuse(f"where compares the string {field.name!r} with {literal}", "quotes")
        if operator not in ("=", "!="):
            window._refuse(f"where orders the string {field.name!r}", "= or !=")
        if field.enum and literal[1:-1] not in field.enum:
            known = ", ".join(field.enum)
            window._refuse(f"where compares {field.name!r} with {literal}", f"one of {known}")
        return operator, literal[1:-1]
    if literal.startswith("'"):
        window._refuse(f"where compares the {field.kind} {field.name!r} with text", "a number")
    if field.kind == "number":
        return operator, float(literal)
    if "." in literal or not -(2**63) <= int(literal) < 2**63:
        window._refuse(
            f"where compares the {field.kind} {field.name!r} with {literal}",
            "a whole number of 64 bits",
        )
    return operator, int(literal)


def _field(window: Window, contract: Contract, name: str) -> Field:
    field = contract.by_name.get(name)
    if field is None:
        known = ", ".join(sorted(contract.by_name))
        window._refuse(f"{contract.name} has no field {name!r}", f"one of {known}")
    return field
