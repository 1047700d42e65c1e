"""One field of an event: what every later layer knows of it, and how its schema is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from lockstep.contracts.pattern import matched, why_no_pattern
from lockstep.contracts.place import Place
from lockstep.errors import UsageError

__all__ = ["KEYWORDS", "RESERVED", "Field", "Kind", "check_name", "is_reserved", "read_field"]

Kind = Literal["string", "integer", "number", "timestamp"]
"""timestamp: an integer of microseconds since 1970-01-01 UTC, in JSON as in every column."""

RESERVED = frozenset({"score", "margin", "window_values"})
"""Columns of our own beside an event's: a graph's outputs, and the window values it is given.
Those that exist inside of one layer only begin with an underscore, as no field may."""
_VALUE_OF_A_GRAPH = re.compile(r"[A-Z][A-Za-z0-9]*_[0-9]+_\w*")
"""How values inside a compiled graph are called, whose inputs are called like fields: Add_0_C."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")

_MICROS = "timestamp-micros"
_TYPES = ("string", "integer", "number")
_TEXTS = ("title", "description", "$comment")
_ANY = ("type", *_TEXTS, "x-sensitive")
_RANGE = (*_ANY, "minimum", "maximum")
KEYWORDS: Mapping[Kind, tuple[str, ...]] = {
    "string": (*_ANY, "enum", "pattern", "minLength", "maxLength"),
    "number": _RANGE,
    "integer": (*_RANGE, "x-unit"),
    "timestamp": (*_RANGE, "x-unit"),
}
"""What a field's schema may say, by the kind of the field.

`type` is "string", "integer" or "number", or a list of one of them and "null". An integer with
`"x-unit": "timestamp-micros"` is a timestamp: microseconds since 1970-01-01 UTC. Integers,
numbers and timestamps need `minimum` and `maximum`, both inclusive; strings need `maxLength`, or
an `enum` of strings. `"x-sensitive": true` keeps a field's values out of profiles, and a window
can only count over it. Texts (`title`, `description`, `$comment`) are for people.
"""
_EXACT = 2**53
"""Integers up to it survive every reader of JSON, and the difference of two fits int64."""
_EARLIEST, _LATEST = (
    int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (1600, 9000)
)
"""Between them Python, Arrow, Spark and Postgres have one calendar, and windows and days that
reach further still have room."""
_LONGEST = 1_000_000
"""Characters of a string; an event of more would not fit into Kafka's messages."""
_LONGEST_PATTERN = 500
"""RE2 takes longer ones; nobody reads them."""
_SHOWN = 200
"""Characters of an enum that a reason shows."""


@dataclass(frozen=True)
class Field:
    """One field of an event. Bounds are inclusive."""

    name: str
    kind: Kind
    nullable: bool = False
    required: bool = True
    """A field that is not required may be absent, which reads as null."""
    minimum: float | None = None
    maximum: float | None = None
    """Every field has them but strings; whole numbers but for a number."""
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    min_length: int = 0
    max_length: int = 0
    """In code points. Every string has it, and nothing else."""
    sensitive: bool = False
    description: str = ""

    @property
    def expected(self) -> str:
        """In words, which values keep the contract."""
        if self.kind != "string":
            return f"between {self.minimum} and {self.maximum}"
        if self.enum:
            members = ", ".join(self.enum)
            return f"one of {members if len(members) <= _SHOWN else members[:_SHOWN] + '...'}"
        length = f"{max(self.min_length, 1)} to {self.max_length} characters, none of them NUL"
        return f"{length}, that match {self.pattern}" if self.pattern else length


def is_reserved(name: str) -> bool:
    """Whether a field or a window of this name could be taken for something of our own."""
    return name.lower() in RESERVED or _VALUE_OF_A_GRAPH.fullmatch(name) is not None


def check_name(place: Place, name: str) -> None:
    """A name that every layer can have a column of."""
    if not _NAME.fullmatch(name):
        place.refuse(
            "a field's name",
            name,
            "not an identifier of at most 63 characters that begins with a letter",
            "letters of a to z, digits and underscores",
        )
    if is_reserved(name):
        place.refuse(
            "a field's name", name, "which Lockstep itself calls something", f"own_{name.lower()}"
        )


def read_field(place: Place, name: str, spec: Any, *, required: bool) -> Field:
    """A field of its schema. Raises UsageError for what a later layer could not keep."""
    place.object("its schema", spec)
    kind, null = _kind(place, spec)
    place.keywords(spec, KEYWORDS[kind], texts=_TEXTS, of=f"a {kind}")
    sensitive = spec.get("x-sensitive", False)
    if not isinstance(sensitive, bool):
        place.refuse("x-sensitive", sensitive, "neither true nor false", "true or false")
    found = {
        "name": name,
        "kind": kind,
        "nullable": null or not required,
        "required": required,
        "sensitive": sensitive,
        "description": spec.get("description", ""),
    }
    if kind == "string":
        return Field(**found, **_string(place, spec, null=null))
    if kind != "number":
        _present(place, name, spec, null=null, required=required)
    return Field(**found, **_range(place, spec, kind))


def _kind(place: Place, spec: Mapping[str, Any]) -> tuple[Kind, bool]:
    """The kind, and whether the type has null."""
    if "type" not in spec:
        place.missing("type", "every field has one", f"one of {', '.join(_TYPES)}")
    type = spec["type"]
    types = type if isinstance(type, list) else [type]
    kinds = [each for each in types if each != "null"]
    if len(kinds) != 1 or len(types) > 2 or kinds[0] not in _TYPES:
        place.refuse(
            "type",
            type,
            f"not one of {', '.join(_TYPES)}",
            'one of them, or for what may be null "type": ["number", "null"]',
        )
    kind: Kind = kinds[0]
    if "x-unit" in spec and kind == "integer":
        if spec["x-unit"] != _MICROS:
            place.refuse(
                "x-unit", spec["x-unit"], "no unit of an integer", f"{_MICROS}, or a description"
            )
        kind = "timestamp"
    return kind, len(types) == 2


def _present(
    place: Place, name: str, spec: Mapping[str, Any], *, null: bool, required: bool
) -> None:
    """An int64 has no value for null, so an integer must be there."""
    instead = f'{name!r} into "required", or "type": "number" where it may be null or absent'
    if null:
        place.refuse(
            "type",
            spec["type"],
            "but only strings and numbers may be null",
            f'"type": "integer", and {instead}',
        )
    if not required:
        raise UsageError(
            f"{place.name}: required does not name it, so it may be absent, but only strings"
            " and numbers may: they have a value for null",
            next=f"write {instead}",
        )


def _range(place: Place, spec: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    found: dict[str, float] = {}
    for keyword in ("minimum", "maximum"):
        if keyword not in spec:
            # Without both, a value that float32 cannot hold would reach the model as infinity.
            place.missing(
                keyword, "every number has a minimum and a maximum", f'"{keyword}": a number'
            )
        if kind == "number":
            found[keyword] = _number(place, keyword, spec[keyword])
            continue
        low, high = (_EARLIEST, _LATEST) if kind == "timestamp" else (-_EXACT, _EXACT)
        what = "in microseconds of the years 1600 to 9000" if kind == "timestamp" else "in 2**53"
        found[keyword] = place.whole(spec, keyword, low, high, f"a whole number {what}") or 0
    if found["minimum"] > found["maximum"]:
        place.refuse("minimum", spec["minimum"], f"above maximum, {spec['maximum']}", "the lower")
    return found


def _number(place: Place, keyword: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        place.refuse(keyword, value, "not a number", f'a number, such as "{keyword}": 1.5')
    try:
        wide = float(value)
    except OverflowError:
        wide = math.inf
    with np.errstate(over="ignore", under="ignore"):
        narrow = float(np.float32(wide))
    if not math.isfinite(narrow) or bool(wide) != bool(narrow):
        place.refuse(
            keyword,
            value,
            "but a model reads float32, where that is infinite or 0",
            "a finite number of at most 3.4e38, and 0 for what is closer to it than 1.4e-45",
        )
    # A whole number stays one, so that errors show what the contract says.
    return value if abs(wide) <= _EXACT else wide


def _string(place: Place, spec: Mapping[str, Any], *, null: bool) -> dict[str, Any]:
    shortest = place.whole(spec, "minLength", 0, _LONGEST, "a number of characters") or 0
    longest = place.whole(spec, "maxLength", 1, _LONGEST, "a number of characters")
    if longest is not None and shortest > longest:
        place.refuse("minLength", shortest, f"above maxLength, {longest}", "the lower")
    pattern = spec.get("pattern")
    if "pattern" in spec:
        if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN:
            place.refuse("pattern", pattern, "not text of at most 500 characters", "a shorter one")
        if wrong := why_no_pattern(pattern):
            place.refuse("pattern", pattern, f"which RE2 cannot read: {wrong}", "another one")
    if "enum" not in spec and longest is None:
        place.missing("maxLength", "a string needs maxLength or enum", 'such as "maxLength": 40')
    enum = _enum(place, spec["enum"], null=null) if "enum" in spec else ()
    fits = matched(pattern, enum) if pattern else [True] * len(enum)
    longest = longest or max(map(len, enum))
    for member, fit in zip(enum, fits, strict=True):
        if not fit or not shortest <= len(member) <= longest:
            place.refuse("enum", member, "which pattern or length refuse", "what they allow")
    return {"enum": enum, "pattern": pattern, "min_length": shortest, "max_length": longest}


def _enum(place: Place, members: Any, *, null: bool) -> tuple[str, ...]:
    """The strings of an enum; null is dropped where the type has it."""
    example = '"enum": ["A", "B"]'
    if not isinstance(members, list):
        place.refuse("enum", members, "not a list", example)
    if None in members and not null:
        place.refuse("enum", members, "with null, which the type lacks", '["string", "null"]')
    found: list[str] = []
    for member in members:
        if member is None:
            continue
        if not isinstance(member, str) or not member or "\0" in member:
            place.refuse(
                "enum",
                member,
                "not a string, empty (which reads as null), or with a NUL",
                f"strings, such as {example}",
            )
        if member in found:
            place.refuse("enum", member, "which is there twice", "it once")
        found.append(member)
    if not found:
        place.refuse("enum", members, "without a string", example)
    return tuple(found)
