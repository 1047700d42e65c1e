"""JSON events as columns, quickly, and without one bad event spoiling its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np

from lockstep.contracts.contract import Contract
from lockstep.contracts.field import Field
from lockstep.contracts.validation import Validator

__all__ = ["Decoded", "EventDecoder", "too_large"]

_INT64 = msgspec.Meta(ge=-(2**63), le=2**63 - 1)


@dataclass(frozen=True)
class Decoded:
    """The events of `values` that fit the contract, as columns of `len(kept)` rows each."""

    kept: Sequence[int]
    """Positions in the values that were given, growing."""
    columns: dict[str, Any]
    rejected: dict[int, str]
    """Position -> why the event does not fit."""


class EventDecoder:
    """Decodes JSON values against one contract. Not for several threads at once.

    Unknown fields are ignored, so that a producer may add one before its readers know it.
    """

    def __init__(self, contract: Contract, *, max_bytes: int) -> None:
        self._fields = contract.fields
        self._max_bytes = max_bytes
        self._validator = Validator(contract)
        self._decode = msgspec.json.Decoder(
            msgspec.defstruct(
                "Event", [_member(f) for f in contract.fields], gc=False, kw_only=True
            )
        ).decode
        self._get = [(field, attrgetter(field.name)) for field in contract.fields]

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode and validate. Raises nothing that a value could cause: see `Decoded.rejected`."""
        rejected: dict[int, str] = {}
        kept: Sequence[int] = range(len(values))
        try:
            if max(map(len, values), default=0) > self._max_bytes:  # type: ignore[arg-type]
                raise ValueError
            events = list(map(self._decode, values))  # type: ignore[arg-type]
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            events, kept = self._one_by_one(values, rejected)
        columns = self._columns(events)
        wrong = self._validator.violations(columns)
        if wrong:
            rejected.update((kept[row], reason) for row, reason in wrong.items())
            good = np.array([row not in wrong for row in range(len(events))], bool)
            columns = {name: column[good] for name, column in columns.items()}
            kept = [position for row, position in enumerate(kept) if row not in wrong]
        return Decoded(kept, columns, rejected)

    def _one_by_one(
        self, values: Sequence[bytes | None], rejected: dict[int, str]
    ) -> tuple[list[Any], list[int]]:
        events, kept = [], []
        for position, value in enumerate(values):
            if not value:
                rejected[position] = "the value is empty"
            elif len(value) > self._max_bytes:
                rejected[position] = too_large(len(value), self._max_bytes)
            else:
                try:
                    events.append(self._decode(value))
                    kept.append(position)
                except RecursionError:
                    rejected[position] = "the value is nested too deeply"
                except (msgspec.MsgspecError, ValueError) as error:
                    rejected[position] = str(error)
        return events, kept

    def _columns(self, events: list[Any]) -> dict[str, Any]:
        rows = len(events)
        columns = {}
        for field, get in self._get:
            values = map(get, events)
            if field.kind == "string":
                strings = (value or "" for value in values) if field.nullable else values
                columns[field.name] = np.fromiter(strings, object, rows)
            else:
                dtype = np.float64 if field.kind == "number" else np.int64
                columns[field.name] = np.fromiter(values, dtype, rows)
        return columns


def too_large(size: int, most: int) -> str:
    """Why a value of so many bytes is refused unseen."""
    return f"the value has {size:,} bytes, more than {most:,}"


def _member(field: Field) -> tuple[Any, ...]:
    kind: Any = {"string": str, "number": float}.get(field.kind, Annotated[int, _INT64])
    if field.nullable:
        kind = kind | None
    return (field.name, kind) if field.required else (field.name, kind, None)
