"""Whether events keep what their contract says about values.

One implementation for batch and stream: both bring columns. Types have been checked by then,
by the decoder or by the Arrow schema.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lockstep.contracts.columns import Columns
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

    def violations(self, columns: Columns) -> dict[int, str]:
        """Row number -> the first reason why the row does not fit; empty when all do."""
        found: dict[int, str] = {}
        for field in self._numeric:
            column = columns[field.name]
            bad = ~((column >= field.minimum) & (column <= field.maximum))
            if field.nullable:
                bad &= ~np.isnan(column)
            if bad.any():
                for row in np.flatnonzero(bad).tolist():
                    found.setdefault(row, _out_of_range(field, column[row]))
        for field in self._strings:
            column = columns[field.name]
            unknown = set(column) - self._good[field.name]
            if not unknown:
                continue
            wrong = {value: reason for value in unknown if (reason := _wrong(field, value))}
            if wrong:
                for position, value in enumerate(column):
                    if value in wrong:
                        found.setdefault(position, wrong[value])
            if len(self._good[field.name]) + len(unknown) <= _REMEMBERED:
                self._good[field.name] |= unknown - wrong.keys()
        return found


def _out_of_range(field: Field, value: Any) -> str:
    shown = "(sensitive)" if field.sensitive else value
    return f"{field.name} is {shown}, outside [{field.minimum}, {field.maximum}]"


def _wrong(field: Field, value: str) -> str | None:
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
