"""A contract: JSON Schema in schemas/, read into the few facts that serving needs.

`lockstep.contracts.document` says what it may hold; whatever is outside of that is refused when
the contract is loaded, not ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from lockstep.contracts.document import parse_document, read_document
from lockstep.contracts.field import Field, Kind
from lockstep.errors import UsageError

__all__ = ["Contract"]

_ARROW: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


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
        """Read a JSON Schema file. Raises UsageError naming file, field, keyword and value."""
        try:
            data = path.read_bytes()
        except OSError as error:
            known = ", ".join(sorted(found.name for found in path.parent.glob("*.json"))) or "none"
            raise UsageError(
                f"there is no contract {path}: {error.strerror}",
                next=f"write it, or name one that is there ({known})",
            ) from None
        return cls.from_document(parse_document(data, str(path)), where=str(path))

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str = "contract") -> Contract:
        """Read a JSON Schema document, e.g. the one inside a compiled model."""
        roles, fields = read_document(document, where)
        return cls(
            roles.name,
            roles.version,
            roles.source,
            roles.id,
            roles.time,
            roles.entity,
            fields,
            document,
        )

    @classmethod
    def of_source(cls, use_case: str, source: str, schemas: Path = Path("schemas")) -> Contract:
        """The newest contract of a lake table, for what writes or replays events.

        What scores reads the contract inside its compiled model instead.
        """
        folder = schemas / use_case
        found = {path: cls.load(path) for path in sorted(folder.glob("*.json"))}
        fitting = {path: each for path, each in found.items() if each.source == source}
        if not fitting:
            known = ", ".join(sorted({contract.source for contract in found.values()})) or "none"
            raise UsageError(
                f"no contract in {folder} has the source {source!r} (known: {known})",
                next=f"write {folder}/NAME.v1.json, from the repository's root",
            )
        newest = max(contract.version for contract in fitting.values())
        paths = [path for path, contract in fitting.items() if contract.version == newest]
        if len(paths) > 1:
            raise UsageError(
                f"{' and '.join(map(str, paths))} are both version {newest} of {source!r}",
                next='write another "version" or "source" into one of them',
            )
        return fitting[paths[0]]

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    def are_sensitive(self, names: Iterable[str]) -> bool:
        """Whether the value of one of these fields is not to be said."""
        return any(self.by_name[name].sensitive for name in names)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The lake's columns: timestamps as timestamp[us, UTC], numbers as double."""
        return pa.schema(
            [pa.field(f.name, _ARROW[f.kind], nullable=f.nullable) for f in self.fields]
        )
