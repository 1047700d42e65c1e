"""Random contracts, events that keep them and events that do not, and the outer oracle.

    document = data.draw(documents())
    contract = Contract.from_document(document)
    event = data.draw(events(contract))        # a JSON object
    keeps(document, event)                     # what `jsonschema` says of it
    drawn(60)                                  # cases, for who sees many at once

Values lie near the edges: of ranges, of lengths, of what a pattern matches in one engine only, of
what a character is in UTF-8, UTF-16 and code points.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError, validators

from lockstep.contracts import Contract, Field

__all__ = ["CASES", "Case", "documents", "drawn", "events", "keeps", "recorded"]

CASES = pytest.mark.parametrize("amount", [60, pytest.param(1_000, marks=pytest.mark.long)])

_NAMES = (
    *("id", "at", "date", "batch", "rank", "row", "value", "case", "class", "from", "None"),
    *("camelCase", "event_id", "event_time", "entity", "matrix", "length", "A1", "z_9", "self"),
)
_LETTERS = ("A", "b", "7", "_", "-", "é", "ß", "\u0301", "\U0001d11e", "\n", "\r", "\0", " ", "ſ")
_TEXTS = (
    *("", "ABC", "ABC\n", "ABC\r\n", "ABC\u2028", "Zürich", "abc", "A", "AB", "ABCD", "7", "77"),
    *("٣", "ABC\x85", "\n", "\r", "\u2028", "İ", "a\0", "\0", "null", "K", "\U0001d11e"),
    *("\U0001d11e" * 2, "e\u0301", "x" * 41),
)
_PATTERNS = (
    *(r"^[A-Z]{3}$", r"^\w+$", r"\d", "ABC", "^A|C$", r"^[^a]*$", "(AB|A)(C|$)", r"^.$", "^$"),
    *(r"^(a|b|A|B)+$", r"\S\b", r"^(?:[A-Z][a-z]*)+$", r"^[\x41-\x5a]", r"\.", "é", "^x{2,41}$"),
)
_BOUNDS = (-3.4e38, -1e10, -2.5, -1, 0, 1e-40, 0.1, 1, 2.5, 100, 2**53, 3.4e38)
_WHOLES = (-(2**53), -7, 0, 1, 7, 2**31, 2**53)
_TIMES = (-11_676_096_000_000_000, -1, 0, 1_700_000_000_000_000, 221_845_392_000_000_000)
_MICROS = {"type": "integer", "x-unit": "timestamp-micros"}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A contract that can be loaded, with two to seven fields."""
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=2, max_size=7, unique_by=str.lower))
    id, time, *others = names
    properties = {id: draw(_strings(null=False, longest=512)), time: _MICROS | draw(_pair(_TIMES))}
    required = [id, time]
    for name in others:
        kind = draw(st.sampled_from(("string", "number", "integer", "timestamp")))
        null, present = draw(st.booleans()), draw(st.booleans())
        if kind == "string":
            properties[name] = draw(_strings(null=null))
        elif kind == "number":
            type = ["number", "null"] if null else "number"
            properties[name] = {"type": type} | draw(_pair(_BOUNDS))
        else:
            of = _MICROS if kind == "timestamp" else {"type": "integer"}
            properties[name] = of | draw(_pair(_TIMES if kind == "timestamp" else _WHOLES))
        if present or kind in ("integer", "timestamp"):
            required.append(name)
    return _document(id, time, properties, required)


def _document(
    id: str, time: str, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "x-lockstep": {"name": "case", "version": 1, "source": "case", "id": id, "time": time},
        "properties": properties,
        "required": required,
    }


@st.composite
def events(draw: st.DrawFn, contract: Contract) -> dict[str, Any]:
    """A JSON object, most of whose values keep the contract or nearly do."""
    event = {}
    for field in contract.fields:
        value = draw(_values(field))
        if value is not _ABSENT:
            event[field.name] = value
    return event


def _every_pattern() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A contract, and an event for each pattern and text: no draw leaves one out."""
    names = [f"p{number}" for number in range(len(_PATTERNS))]
    fields: dict[str, Any] = {
        name: {"type": ["string", "null"], "pattern": pattern, "maxLength": 41}
        for name, pattern in zip(names, _PATTERNS, strict=True)
    }
    fields["id"] = {"type": "string", "maxLength": 1}
    fields["at"] = _MICROS | {"minimum": 0, "maximum": 1}
    document = _document("id", "at", fields, ["id", "at"])
    return document, [{"id": "a", "at": 1, name: text} for name in names for text in _TEXTS]


def keeps(document: dict[str, Any], event: dict[str, Any]) -> bool:
    """What `jsonschema` says, with what Lockstep's contracts mean beyond JSON Schema spelled out.

    Its own patterns are Python's, where those of JSON Schema are ECMA 262's.
    """
    properties = {
        name: _spelled(spec, optional=name not in document["required"])
        for name, spec in document["properties"].items()
    }
    return _Oracle({**document, "properties": properties}).is_valid(event)


def _spelled(spec: dict[str, Any], *, optional: bool) -> dict[str, Any]:
    types = spec["type"] if isinstance(spec["type"], list) else [spec["type"]]
    plain = {**spec, "type": next(each for each in types if each != "null")}
    if plain["type"] == "string":
        plain["not"] = {"pattern": "\0"}
        plain["minLength"] = max(spec.get("minLength", 0), 1)
    if optional or "null" in types:
        return {"anyOf": [{"enum": [None, *([""] if plain["type"] == "string" else [])]}, plain]}
    return plain


def _ecma(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match")


_Oracle = validators.extend(
    Draft202012Validator,
    {"pattern": _ecma},
    # An integer is written as one.
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)
_ABSENT = object()


@st.composite
def _strings(draw: st.DrawFn, *, null: bool, longest: int = 41) -> dict[str, Any]:
    spec: dict[str, Any] = {"type": ["string", "null"] if null else "string"}
    kind = draw(st.sampled_from(("enum", "pattern", "length", "length")))
    if kind == "enum":
        members = st.sampled_from([text for text in _TEXTS if text and "\0" not in text])
        spec["enum"] = draw(st.lists(members, min_size=1, max_size=4, unique=True))
        if null and draw(st.booleans()):
            spec["enum"].append(None)
        return spec
    if kind == "pattern":
        spec["pattern"] = draw(st.sampled_from(_PATTERNS))
    spec["maxLength"] = draw(st.sampled_from((1, 2, 3, 4, 41, longest)))
    if draw(st.booleans()):
        spec["minLength"] = draw(st.integers(0, min(spec["maxLength"], 4)))
    return spec


def _pair(bounds: tuple[float, ...]) -> st.SearchStrategy[dict[str, float]]:
    both = st.lists(st.sampled_from(bounds), min_size=2, max_size=2).map(sorted)
    return both.map(lambda pair: {"minimum": pair[0], "maximum": pair[1]})


def _values(field: Field) -> st.SearchStrategy[Any]:
    good: st.SearchStrategy[Any]
    if field.kind == "string":
        texts = st.sampled_from((*_TEXTS, *field.enum))
        good = texts | st.lists(st.sampled_from(_LETTERS), max_size=5).map("".join)
    else:
        low, high = field.minimum, field.maximum
        assert low is not None
        assert high is not None
        if field.kind == "number":
            near = [low, high, (low / 2 + high / 2), 0.0, -0.0]
            near += [math.nextafter(low, -math.inf), math.nextafter(high, math.inf)]
            good = st.sampled_from(near).map(float) | st.sampled_from((0, 1, -1, 100))
        else:
            around = {low, high, low - 1, high + 1, (low + high) // 2, 0, 2**63 - 1, -(2**63)}
            good = st.sampled_from(sorted(around)).map(int)
    odd = st.sampled_from((_ABSENT, None, None, True, [], {}, "7", 7, 7.5, 1.0))
    # One in sixteen, so that most events have nothing of another kind.
    return st.integers(0, 15).flatmap(lambda number: odd if number == 0 else good)


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
    found = [Case(*_every_pattern())]

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
