"""TOML into dataclasses: each value judged by the rule that stands in its field's annotation.

    max_batch: Annotated[int, whole(1, 100, write="50")] = 20

A dataclass may have `contradiction()`: what is wrong between its values, as (key, what).
Everything that is wrong is a UsageError that names file, key, value, and what to write.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from lockstep.errors import UsageError

__all__ = ["Rule", "day", "each", "flag", "number", "one_of", "read_toml", "text", "whole"]

_SHOWN = 80


@dataclass(frozen=True)
class Rule:
    """What a value must be. `fault` ends a sentence that shows a wrong one; None: it is right."""

    fault: Callable[[Any], str | None]
    write: str
    """One that is right, as it stands in the file."""


def whole(lowest: int, highest: int, *, write: str) -> Rule:
    """A whole number."""
    return _within(int, "a whole number", lowest, highest, write)


def number(lowest: float, highest: float, *, write: str) -> Rule:
    """A finite number."""
    return _within((int, float), "a number", lowest, highest, write)


def flag(*, write: str) -> Rule:
    """True or false."""
    return Rule(lambda value: None if isinstance(value, bool) else "is not true or false", write)


def text(fault: Callable[[str], str | None], *, write: str) -> Rule:
    """A string that another rule takes."""

    def judged(value: Any) -> str | None:
        return fault(value) if isinstance(value, str) else "is not a text in quotes"

    return Rule(judged, write)


def one_of(*known: str) -> Rule:
    """One of some words."""
    said = f"is not one of {', '.join(known)}"
    return text(lambda value: None if value in known else said, write=f'"{known[0]}"')


def day(lowest: date, highest: date, *, write: str) -> Rule:
    """A day; a date with a time of day is none."""

    def judged(value: Any) -> str | None:
        if not isinstance(value, date) or isinstance(value, datetime):
            return "is not a day, without quotes and without a time"
        inside = lowest <= value <= highest
        return None if inside else f"is not within {lowest} to {highest}"

    return Rule(judged, write)


def each(key: Callable[[str], str | None], value: Rule) -> Rule:
    """A table of any keys that fit, all of whose values fit."""

    def judged(table: Any) -> str | None:
        if not isinstance(table, dict):
            return "is not a table"
        for name, content in table.items():
            if said := key(name):
                return f"has the key {_shown(name)}, which {said}"
            if said := value.fault(content):
                return f"has {_shown(content)} for {_key('', name)}, which {said}"
        return None

    return Rule(judged, write="{ name = " + value.write + " }")


def read_toml(kind: Any, path: Path) -> Any:
    """A file as a dataclass of `kind`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", next=f"see to {path}"
        ) from None
    except (ValueError, RecursionError) as error:
        # Besides its own errors: no UTF-8, numbers of thousands of digits, very deep nesting.
        raise UsageError(
            f"{path} is not TOML: {str(error)[:200]}", next=f"correct {path}"
        ) from None
    return _build(kind, path, "", document)


def _within(
    kinds: type | tuple[type, ...], what: str, lowest: float, highest: float, write: str
) -> Rule:
    said = f"is not {what} of {lowest:,} to {highest:,}"

    def judged(value: Any) -> str | None:
        right = isinstance(value, kinds) and not isinstance(value, bool)
        return None if right and math.isfinite(value) and lowest <= value <= highest else said

    return Rule(judged, write)


def _build(kind: Any, path: Path, where: str, table: Any) -> Any:
    if not isinstance(table, dict):
        raise _wrong(path, where, table, "is not a table", f"[{where}]")
    known = {member.name: member for member in fields(kind)}
    types = get_type_hints(kind, include_extras=True)
    for name in table:
        if name not in known:
            raise _unknown(path, _key(where, name), name, list(known))
    values = {}
    for name, member in known.items():
        key, declared = _key(where, name), types[name]
        if name not in table and not _needed(member):
            continue
        if is_dataclass(declared):
            values[name] = _build(declared, path, key, table.get(name, {}))
            continue
        rule = next(part for part in get_args(declared) if isinstance(part, Rule))
        if name not in table:
            raise UsageError(f"{path}: {key} is missing", next=f"write {key} = {rule.write}")
        if said := rule.fault(table[name]):
            raise _wrong(path, key, table[name], said, f"{key} = {rule.write}")
        values[name] = table[name]
    built = kind(**values)
    if hasattr(built, "contradiction") and (found := built.contradiction()):
        name, said = found
        raise UsageError(f"{path}: {_key(where, name)} {said}", next=f"correct {path}")
    return built


def _needed(member: Field[Any]) -> bool:
    return member.default is MISSING and member.default_factory is MISSING


def _key(where: str, name: str) -> str:
    # A key may be any text in quotes.
    shown = name if name.replace("_", "").isalnum() and len(name) <= _SHOWN else _shown(name)
    return f"{where}.{shown}" if where else shown


def _wrong(path: Path, key: str, value: Any, said: str, write: str) -> UsageError:
    return UsageError(f"{path}: {key} is {_shown(value)}: it {said}", next=f"write {write}")


def _unknown(path: Path, key: str, name: str, known: list[str]) -> UsageError:
    near = get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return UsageError(
        f"{path}: unknown key {key} ({meant}known: {', '.join(known)})", next=f"correct {path}"
    )


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
