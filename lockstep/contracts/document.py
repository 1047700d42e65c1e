"""What a contract's document may say: JSON Schema 2020-12, as far as every layer can keep it.

An event is a flat object of strings, integers, numbers and timestamps. Whatever a later layer
could not keep (the decoder, the lake, Spark, the compiled graph, Postgres) is refused when the
contract is read, with the field, the keyword, the value, and what to write instead.

A contract means what JSON Schema means by it, but for this, in every layer alike:

- Null, absent and the empty string are one thing, where the type has null or `required` does not
  name the field. Elsewhere a string is never empty.
- No string has a NUL character, which Postgres cannot keep.
- Lengths count Unicode code points. A pattern may match anywhere in the string; who reads it is
  said in `lockstep.contracts.pattern`.
- A number is a float64. An integer has no fraction and no exponent: 1.0 is none.
- Fields that the contract does not know are ignored, so that producers may send them first.

Names are identifiers of ASCII, at most 63 characters, and differ in more than case. Integers lie
within 2**53, up to which readers of JSON keep every digit; numbers are finite in float32, as the
model reads them; timestamps lie in the years 1600 to 9000. A string has at most 1,000,000
characters; the id at most 512, for every index holds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockstep.contracts.field import Field, check_name, read_field
from lockstep.contracts.place import Place
from lockstep.errors import UsageError
from lockstep.names import lake_name_fault

__all__ = ["Roles", "parse_document", "read_document"]

_TEXTS = ("$schema", "$id", "$comment", "title", "description")
_TOP = (*_TEXTS, "type", "x-lockstep", "properties", "required", "additionalProperties")
_NEEDED = ("name", "version", "source", "id", "time")
_ABOUT = (*_NEEDED, "entity")
_LONGEST_ID = 512
"""In UTF-8 2,048 bytes: with the other columns of a prediction's key less than the 2,704 that a
row of an index may have in Postgres."""


@dataclass(frozen=True)
class Roles:
    """What `x-lockstep` says."""

    name: str
    version: int
    source: str
    id: str
    time: str
    entity: str | None


def parse_document(data: bytes, where: str) -> Any:
    """JSON of a contract's file. Raises UsageError for what is none, and for a key given twice."""
    place = Place(where)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            place.refuse("a key", twice, "which one object has twice", "it once")
        return found

    def no_number(text: str) -> None:
        place.refuse("a number", text, "which JSON does not have", "a finite number")

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_constant=no_number)
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply", next="write a flat contract") from None
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}", next="correct it") from None


def read_document(document: Any, where: str) -> tuple[Roles, tuple[Field, ...]]:
    """The roles and the fields. Raises UsageError for what no later layer could keep."""
    place = Place(where)
    place.object("the contract", document)
    _require_characters(place, document)
    place.keywords(document, _TOP, texts=_TEXTS, of="a contract")
    if document.get("type", "object") != "object":
        place.refuse("type", document["type"], "but an event is an object", '"type": "object"')
    if document.get("additionalProperties", True) is not True:
        place.refuse(
            "additionalProperties",
            document["additionalProperties"],
            "but fields that a contract does not know are ignored",
            "true, or leave it out",
        )
    for keyword in ("x-lockstep", "properties"):
        if keyword not in document:
            place.missing(keyword, "every contract has it", "it as the contracts in schemas/ do")
    properties = place.object("properties", document["properties"])
    seen: dict[str, str] = {}
    for name in properties:
        check_name(place, name)
        if (other := seen.setdefault(name.lower(), name)) != name:
            place.refuse(
                "a field's name",
                name,
                f"which to Spark is {other!r}: it does not tell upper from lower case",
                "names that differ in more than that",
            )
    required = _required(place, document.get("required", []), properties)
    fields = tuple(
        read_field(place.inside(name), name, spec, required=name in required)
        for name, spec in properties.items()
    )
    about = place.inside("x-lockstep")
    roles = _roles(about, about.object("it", document["x-lockstep"]))
    _check_roles(about, roles, {field.name: field for field in fields})
    return roles, fields


def _require_characters(place: Place, document: Any) -> None:
    """A lone surrogate is half of a character, and has no UTF-8."""
    try:
        text = json.dumps(document, ensure_ascii=False)
        text.encode()
    except (RecursionError, TypeError) as error:
        raise UsageError(f"{place.name} is not JSON: {error}") from None
    except UnicodeEncodeError as error:
        near = text[max(error.start - 20, 0) : error.end]
        place.refuse("the text", near, "which ends in half of a character", "whole characters")


def _required(place: Place, names: Any, properties: Mapping[str, Any]) -> set[str]:
    if not isinstance(names, list):
        place.refuse("required", names, "not a list of names", '"required": ["event_id"]')
    for position, name in enumerate(names):
        if not isinstance(name, str) or name not in properties:
            place.refuse("required", name, "which is none of properties", "names of properties")
        if name in names[:position]:
            place.refuse("required", name, "which is there twice", "it once")
    return set(names)


def _roles(place: Place, about: Mapping[str, Any]) -> Roles:
    place.keywords(about, _ABOUT, texts=("name", "source", "id", "time", "entity"), of="x-lockstep")
    for keyword in _NEEDED:
        if keyword not in about:
            place.missing(keyword, "every contract has it", f'"{keyword}" into "x-lockstep"')
    for keyword in ("name", "source"):
        # The source is a folder of the lake; a name is written like one.
        if fault := lake_name_fault(about[keyword]):
            place.refuse(keyword, about[keyword], f"which {fault}", f'"{keyword}": "departures"')
    place.whole(about, "version", 1, 2**31 - 1, "the number of a version")
    known: dict[str, Any] = {keyword: about.get(keyword) for keyword in _ABOUT}
    return Roles(**known)


def _check_roles(place: Place, roles: Roles, fields: Mapping[str, Field]) -> None:
    known = f"one of {', '.join(fields)}"
    for role, kind in (("id", "string"), ("time", "timestamp")):
        name = getattr(roles, role)
        field = fields.get(name)
        if field is None or field.kind != kind or field.nullable:
            place.refuse(role, name, f"which is not a required, non-null {kind} field", known)
    if roles.entity is not None:
        entity = fields.get(roles.entity)
        if entity is None or entity.kind != "string":
            place.refuse("entity", roles.entity, "which is not a string field", known)
    for role in ("id", "time", "entity"):
        name = getattr(roles, role)
        if name is not None and fields[name].sensitive:
            place.refuse(
                role, name, f"but {name} may not be sensitive: it is stored as it is", known
            )
    if (longest := fields[roles.id].max_length) > _LONGEST_ID:
        place.refuse(
            "id",
            roles.id,
            f"which may have {longest:,} characters, more than fit into an index of Postgres",
            f'"maxLength": {_LONGEST_ID} or less for it',
        )
