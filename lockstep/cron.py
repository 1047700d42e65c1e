"""Schedules as Airflow's cron timetables take them, judged without Airflow.

Five fields (minute, hour, day of the month, month, day of the week) of numbers, names, ranges,
lists and steps, or a preset. What is taken here has a next time; a worker and a command can tell
a wrong schedule where no Airflow is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["PRESETS", "cron_fault"]

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
"""The last day of the months that have no 31st, in a leap year."""
_ITEM = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d{1,3}))?", re.ASCII)


@dataclass(frozen=True)
class _Field:
    name: str
    lowest: int
    highest: int
    names: Mapping[str, int] = field(default_factory=dict)


def _named(words: str, first: int) -> dict[str, int]:
    return {word: number for number, word in enumerate(words.split(), first)}


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _named("jan feb mar apr may jun jul aug sep oct nov dec", 1)),
    _Field("day of the week", 0, 7, _named("sun mon tue wed thu fri sat", 0)),
)


def cron_fault(text: str) -> str | None:
    """What is wrong with a schedule, as the end of a sentence that shows it, or None."""
    if text in PRESETS:
        return None
    parts = text.split(" ")
    if len(parts) != len(_FIELDS):
        return f"is no schedule: five fields with one space between, or one of {', '.join(PRESETS)}"
    values = []
    for part, kind in zip(parts, _FIELDS, strict=True):
        found = _values(part, kind)
        if isinstance(found, str):
            return f"is no schedule: {kind.name} {part!r} {found}"
        values.append(found)
    return _never(parts, values)


def _values(part: str, kind: _Field) -> set[int] | str:
    """The numbers that a field means, or what is wrong with it."""
    values: set[int] = set()
    for item in part.lower().split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            return "is not made of numbers, ranges, lists and steps"
        star, first, last, step = match.groups()
        low = kind.lowest if star else _number(first, kind)
        # `5/15` means from 5 on.
        high = _number(last, kind) if last else kind.highest if star or step else low
        if low is None or high is None or not kind.lowest <= low <= high <= kind.highest:
            return f"is not within {kind.lowest} to {kind.highest}, ascending"
        if step is not None and not 1 <= int(step) <= kind.highest:
            return f"has a step that is not within 1 to {kind.highest}"
        values.update(range(low, high + 1, int(step or 1)))
    return values


def _number(word: str, kind: _Field) -> int | None:
    if word in kind.names:
        return kind.names[word]
    return int(word) if word.isdecimal() and len(word) <= 2 else None


def _never(parts: Sequence[str], values: Sequence[set[int]]) -> str | None:
    """A day that no month has, as 30 February. A day of the week, where given, comes instead."""
    if parts[4] != "*":
        return None
    days, months = values[2], values[3]
    if any(min(days) <= _DAYS.get(month, 31) for month in months):
        return None
    return f"is no schedule: no month of {parts[3]!r} has a day {parts[2]!r}"
