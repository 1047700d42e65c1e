"""A contract: JSON Schema in schemas/, read into the few facts that serving needs.

The subset of JSON Schema is small on purpose: flat objects of strings, integers, numbers and
timestamps. What is outside of it is refused when the contract is loaded, not ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lockstep.errors import UsageError

__all__ = ["Contract", "Field", "Kind"]

Kind = Literal["string", "integer", "number", "timestamp"]
"""timestamp: an integer of microseconds since 1970-01-01 UTC, in JSON as in every column."""

_ARROW: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_KEYWORDS = {
    *("type", "description", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum"),
    *("x-unit", "x-sensitive"),
}


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
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    min_length: int = 0
    max_length: int = 0
    sensitive: bool = False
    description: str = ""


@dataclass(frozen=True)
class Contract:
    """The fields of one kind of event. `id`, `time` and `entity` name fields."""

    name: str
    version: int
    source: str
    """The lake table of these events."""
    id: str
    time: str
    entity: str | None
    fields: tuple[Field, ...]
    document: Mapping[str, Any]
    """The JSON Schema it was read from."""

    @classmethod
    def load(cls, path: Path) -> Contract:
        """Read a JSON Schema file. Raises UsageError naming file, field and keyword."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"there is no contract {path}") from None
        except ValueError as error:
            raise UsageError(f"{path} is not JSON: {error}") from None
        return cls.from_document(document, where=str(path))

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str = "contract") -> Contract:
        """Read a JSON Schema document, e.g. the one inside a compiled model."""
        try:
            about, properties = document["x-lockstep"], document["properties"]
            required = set(document.get("required", ()))
            fields = tuple(
                _field(name, spec, name in required, where) for name, spec in properties.items()
            )
            contract = cls(
                name=about["name"],
                version=about["version"],
                source=about["source"],
                id=about["id"],
                time=about["time"],
                entity=about.get("entity"),
                fields=fields,
                document=document,
            )
        except KeyError as error:
            raise UsageError(f"{where}: {error.args[0]!r} is missing") from None
        for role, kind in (("id", "string"), ("time", "timestamp")):
            name = getattr(contract, role)
            field = contract.by_name.get(name)
            if field is None or field.kind != kind or field.nullable or not field.required:
                raise UsageError(
                    f"{where}: {role} is {name!r}, which is not a required, non-null {kind} field"
                )
        if contract.entity is not None:
            entity = contract.by_name.get(contract.entity)
            if entity is None or entity.kind != "string":
                raise UsageError(
                    f"{where}: entity is {contract.entity!r}, which is not a string field"
                )
        for name in (contract.id, contract.entity):
            # Both are written to the warehouse as they are.
            if name is not None and contract.by_name[name].sensitive:
                raise UsageError(f"{where}: {name} may not be sensitive: it identifies rows")
        return contract

    @classmethod
    def of_source(cls, use_case: str, source: str, schemas: Path = Path("schemas")) -> Contract:
        """The newest contract of a lake table, for what writes or replays events.

        What scores reads the contract inside its compiled model instead.
        """
        found = [cls.load(path) for path in sorted((schemas / use_case).glob("*.json"))]
        fitting = [contract for contract in found if contract.source == source]
        if not fitting:
            known = ", ".join(sorted({contract.source for contract in found})) or "none"
            raise UsageError(
                f"no contract in {schemas / use_case} has the source {source!r} (known: {known})",
                next=f"write {schemas / use_case}/NAME.v1.json, from the repository's root",
            )
        return max(fitting, key=lambda contract: contract.version)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The lake's columns: timestamps as timestamp[us, UTC], numbers as double."""
        return pa.schema(
            [pa.field(f.name, _ARROW[f.kind], nullable=f.nullable) for f in self.fields]
        )


def _field(name: str, spec: Mapping[str, Any], required: bool, where: str) -> Field:
    unknown = set(spec) - _KEYWORDS
    if unknown:
        raise UsageError(f"{where}: {name}: keyword {min(unknown)!r} is not supported")
    types = spec["type"] if isinstance(spec["type"], list) else [spec["type"]]
    nullable = "null" in types
    (kind, *more) = [t for t in types if t != "null"]
    if more or kind not in ("string", "integer", "number"):
        raise UsageError(
            f"{where}: {name}: type {spec['type']!r} is not one of string, integer, number"
        )
    if spec.get("x-unit") == "timestamp-micros":
        if kind != "integer":
            raise UsageError(f"{where}: {name}: a timestamp-micros is an integer, not {kind}")
        kind = "timestamp"
    if kind == "string":
        if not spec.get("maxLength") and not spec.get("enum"):
            raise UsageError(f"{where}: {name}: a string needs maxLength or enum")
        if "pattern" in spec:
            re.compile(spec["pattern"])
    else:
        if (nullable or not required) and kind != "number":
            raise UsageError(f"{where}: {name}: only strings and numbers may be null, not {kind}")
        low, high = spec.get("minimum"), spec.get("maximum")
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
            # Without both, a value that float32 cannot hold would reach the model as infinity.
            raise UsageError(f"{where}: {name}: needs a finite minimum and maximum")
    return Field(
        name=name,
        kind=kind,
        nullable=nullable or not required,
        required=required,
        minimum=spec.get("minimum"),
        maximum=spec.get("maximum"),
        enum=tuple(spec.get("enum", ())),
        pattern=spec.get("pattern"),
        min_length=spec.get("minLength", 0),
        max_length=spec.get("maxLength", 0),
        sensitive=spec.get("x-sensitive", False),
        description=spec.get("description", ""),
    )
