"""Whether events keep what their contract says about values.

One implementation for batch and stream: both bring columns. Types have been checked by then,
by the decoder or by the Arrow schema.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts.columns import EncodedColumns, EncodedStrings
from lockstep.contracts.contract import Contract, Field

__all__ = ["Validator"]

_REMEMBERED = 10_000
"""Distinct values of a string field remembered as good; more than a vocabulary, less than ids."""


class Validator:
    """Checks columns against one contract. Not for several threads at once."""

    def __init__(self, contract: Contract) -> None:
        self._numeric = [f for f in contract.fields if f.kind != "string"]
        self._strings = [f for f in contract.fields if f.kind == "string"]
        self._good: dict[str, set[str]] = {f.name: set() for f in self._strings}

    def violations(self, columns: EncodedColumns) -> dict[int, str]:
        """Row number -> the first reason why the row does not fit; empty when all do."""
        found: dict[int, str] = {}
        for field in self._numeric:
            column: Any = columns[field.name]
            bad = ~((column >= field.minimum) & (column <= field.maximum))
            if field.nullable:
                bad &= ~np.isnan(column)
            if bad.any():
                for row in np.flatnonzero(bad).tolist():
                    found.setdefault(row, _out_of_range(field, column[row]))
        for field in self._strings:
            column = columns[field.name]
            if wrong := self._wrong(field, column):
                for row, value in enumerate(_strings(column)):
                    if value in wrong:
                        found.setdefault(row, wrong[value])
        return found

    def _wrong(self, field: Field, column: Any) -> dict[str, str]:
        """The values of a string column that do not fit, and why."""
        good = self._good[field.name]
        if isinstance(column, EncodedStrings):
            if _surely_fit(field, column.values):
                return {}
            unknown = set(column.objects()) - good
        else:
            unknown = set(column) - good
            if _surely_fit(field, unknown):
                return {}
        wrong = {value: reason for value in unknown if (reason := _reason(field, value))}
        if len(good) + len(unknown) <= _REMEMBERED:
            good |= unknown - wrong.keys()
        return wrong


def _strings(column: Any) -> Any:
    return column.decoded() if isinstance(column, EncodedStrings) else column


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
    return shortest >= least and not (field.max_length and longest > field.max_length) and not nul


def _out_of_range(field: Field, value: Any) -> str:
    shown = "(sensitive)" if field.sensitive else value
    return f"{field.name} is {shown}, outside [{field.minimum}, {field.maximum}]"


def _reason(field: Field, value: str) -> str | None:
    if value == "" and field.nullable:
        return None
    shown = repr(value if len(value) <= 40 else value[:37] + "...")
    if field.sensitive:
        shown = "(sensitive)"
    if field.enum and value not in field.enum:
        return f"{field.name} is {shown}, not one of {', '.join(field.enum)}"
    if len(value) < max(field.min_length, 1):
        return f"{field.name} is empty or too short: {shown}"
    if field.max_length and len(value) > field.max_length:
        return f"{field.name} has {len(value)} characters, more than {field.max_length}: {shown}"
    if "\0" in value:
        return f"{field.name} contains a NUL character: {shown}"
    if field.pattern and not re.search(field.pattern, value):
        return f"{field.name} is {shown}, which does not match {field.pattern}"
    return None
