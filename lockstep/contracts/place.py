"""Where in a contract's document something is, and how what may not be there is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lockstep.errors import UsageError

__all__ = ["Place", "shown"]

_SHOWN = 60


@dataclass(frozen=True)
class Place:
    """A part of a document: its file, and what leads to it."""

    name: str

    def inside(self, part: str) -> Place:
        """A part of this part."""
        return Place(f"{self.name}: {part}")

    def refuse(self, keyword: str, value: Any, what: str, write: str) -> NoReturn:
        """Raise UsageError: what the value is, and what to write instead."""
        raise UsageError(f"{self.name}: {keyword} is {shown(value)}, {what}", next=f"write {write}")

    def missing(self, keyword: str, why: str, write: str) -> NoReturn:
        """Raise UsageError for a keyword that is not there."""
        raise UsageError(f"{self.name}: {keyword!r} is missing: {why}", next=f"write {write}")

    def object(self, what: str, value: Any) -> Mapping[str, Any]:
        """The value, which must be an object."""
        if not isinstance(value, dict):
            self.refuse(what, value, "not an object", "an object, in braces")
        return value

    def keywords(
        self, found: Mapping[str, Any], known: Sequence[str], *, texts: Sequence[str], of: str
    ) -> None:
        """Nothing but the known keywords is there, and what says something to people is text."""
        for keyword, value in found.items():
            if keyword not in known:
                raise UsageError(
                    f"{self.name}: keyword {shown(keyword)} is not supported for {of}: it is"
                    f" {shown(value)}",
                    next=f"leave it out; {of} may have {', '.join(known)}",
                )
            if keyword in texts and not isinstance(value, str):
                self.refuse(keyword, value, "not text", f'text, such as "{keyword}": "..."')

    def whole(
        self, found: Mapping[str, Any], keyword: str, least: int, most: int, what: str
    ) -> int | None:
        """A whole number from `least` to `most`; None where the keyword is not there."""
        value = found.get(keyword)
        if keyword not in found:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(keyword, value, f"not {what}", f"a whole number from {least} to {most}")
        return value


def shown(value: Any) -> str:
    """A value on one short line."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
