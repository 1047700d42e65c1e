"""Whether events keep what their contract says about values.

One implementation for all that asks: stream, landing, training, batch, Spark's workers and Great
Expectations bring columns. Types have been checked by then, by a decoder.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts.columns import EncodedColumns, EncodedStrings
from lockstep.contracts.contract import Contract
from lockstep.contracts.field import Field
from lockstep.contracts.pattern import matched

__all__ = ["FieldValidator", "Validator"]

_REMEMBERED = 10_000
"""Distinct values of a string field remembered as good; more than a vocabulary, less than ids."""


class Validator:
    """Checks columns against one contract. Not for several threads at once."""

    def __init__(self, contract: Contract) -> None:
        ordered = sorted(contract.fields, key=lambda field: field.kind == "string")
        self._fields = {field.name: FieldValidator(field) for field in ordered}

    def violations(self, columns: EncodedColumns) -> dict[int, str]:
        """Row number -> the first reason why the row does not fit; empty when all do."""
        found: dict[int, str] = {}
        for name, field in self._fields.items():
            for row, reason in field.violations(columns[name]).items():
                found.setdefault(row, reason)
        return found


class FieldValidator:
    """Checks columns of one field."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._good: set[str] = set()

    def violations(self, column: Any) -> dict[int, str]:
        """Row number -> why its value does not fit."""
        field = self._field
        if field.kind != "string":
            bad = ~((column >= field.minimum) & (column <= field.maximum))
            if field.nullable:
                bad &= ~np.isnan(column)
            rows = np.flatnonzero(bad).tolist() if bad.any() else []
            return {row: _out_of_range(field, column[row]) for row in rows}
        wrong = self._wrong(column)
        if not wrong:
            return {}
        strings = column.decoded() if isinstance(column, EncodedStrings) else column
        return {row: wrong[value] for row, value in enumerate(strings) if value in wrong}

    def _wrong(self, column: Any) -> dict[str, str]:
        """The values of a string column that do not fit, and why."""
        if isinstance(column, EncodedStrings):
            if _surely_fit(self._field, column.values):
                return {}
            unknown = set(column.objects()) - self._good
        else:
            unknown = set(column) - self._good
            if _surely_fit(self._field, unknown):
                return {}
        wrong = _reasons(self._field, unknown)
        if len(self._good) + len(unknown) <= _REMEMBERED:
            self._good |= unknown - wrong.keys()
        return wrong


def _surely_fit(field: Field, values: set[str] | pa.Array) -> bool:
    """Whether no value needs to be looked at by itself, as where every row has another one."""
    if not len(values):
        return True
    if field.enum or field.pattern or (field.nullable and field.min_length > 1):
        return False
    if isinstance(values, set):
        shortest, longest = min(map(len, values)), max(map(len, values))
        nul = "\0" in "".join(values)
    else:
        lengths = pc.min_max(pc.utf8_length(values)).as_py()
        shortest, longest = lengths["min"], lengths["max"]
        nul = pc.any(pc.match_substring(values, "\0")).as_py()
    least = 0 if field.nullable else max(field.min_length, 1)
    return shortest >= least and longest <= field.max_length and not nul


def _out_of_range(field: Field, value: Any) -> str:
    shown = "(sensitive)" if field.sensitive else value
    return f"{field.name} is {shown}, outside [{field.minimum}, {field.maximum}]"


def _reasons(field: Field, values: Collection[str]) -> dict[str, str]:
    """Of these strings those that do not fit, and why."""
    wrong = {value: reason for value in values if (reason := _reason(field, value))}
    if field.pattern:
        rest = [value for value in values if value and value not in wrong]
        for value, fits in zip(rest, matched(field.pattern, rest), strict=True):
            if not fits:
                wrong[value] = (
                    f"{field.name} is {_shown(field, value)}, which does not match {field.pattern}"
                )
    return wrong


def _reason(field: Field, value: str) -> str | None:
    """Why a string does not fit, whatever the pattern says."""
    if value == "" and field.nullable:
        return None
    if field.enum and value not in field.enum:
        return f"{field.name} is {_shown(field, value)}, not {field.expected}"
    if len(value) < max(field.min_length, 1):
        return f"{field.name} is empty or too short: {_shown(field, value)}"
    if len(value) > field.max_length:
        return (
            f"{field.name} has {len(value)} characters, more than {field.max_length}:"
            f" {_shown(field, value)}"
        )
    if "\0" in value:
        return f"{field.name} contains a NUL character: {_shown(field, value)}"
    return None


def _shown(field: Field, value: str) -> str:
    if field.sensitive:
        return "(sensitive)"
    return repr(value if len(value) <= 40 else value[:37] + "...")
