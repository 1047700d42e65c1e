"""A contract's patterns: whether strings match, by the one engine that ever reads them.

It is RE2. Where regular expressions of Python, Java and JavaScript mean different things, RE2 is
with JSON Schema's own (ECMA 262): `$` is the very end, `\\d` and `\\w` are ASCII. And no string
makes it slow: its time grows with the string's length, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts.text import string_array

__all__ = ["matched", "why_no_pattern"]


def matched(pattern: str, strings: Iterable[str]) -> list[bool]:
    """For each string whether the pattern matches somewhere in it, as JSON Schema has it."""
    found: list[bool] = pc.match_substring_regex(string_array(strings), pattern).to_pylist()
    return found


def why_no_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern; None where it can be read."""
    try:
        matched(pattern, [""])
    except pa.ArrowException as error:
        return str(error).removeprefix("Invalid regular expression: ")
    return None
