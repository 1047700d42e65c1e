"""Patterns mean what JSON Schema says (ECMA 262), and no string makes them slow."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lockstep.contracts.pattern import matched, why_no_pattern


@pytest.mark.parametrize(
    ("pattern", "string", "fits"),
    [
        # Python's \w takes it, Java's does not.
        (r"^\w+$", "Zürich", False),
        (r"^\w+$", "Zurich_1", True),
        (r"^\d$", "٣", False),
        # Python's $ is before a last \n, too, and Java's before \r\n as well.
        ("^[A-Z]{3}$", "ABC", True),
        ("^[A-Z]{3}$", "ABC\n", False),
        ("^[A-Z]{3}$", "ABC\r\n", False),
        ("^[A-Z]{3}$", "ABC\u2028", False),
        # Anywhere, unless it says where.
        ("[A-Z]{3}", "...ABC...", True),
        # A character is a code point, of however many bytes or UTF-16 units.
        ("^.$", "\U0001d11e", True),
        ("^.$", "e\u0301", False),
        ("a\0b", "a\0b", True),
    ],
)
def test_what_engines_read_differently_is_read_one_way(pattern, string, fits):
    assert matched(pattern, [string]) == [fits]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a*)*$", "a*a*a*a*a*a*$"])
def test_no_string_makes_a_pattern_slow(pattern):
    """An engine that backtracks would not answer before the test times out."""
    assert matched(pattern, ["a" * 100_000 + "b", "a" * 100_000]) == [
        pattern.startswith("a*"),
        True,
    ]


@pytest.mark.parametrize("pattern", ["(", "a{1001}", "(?<=a)b", r"(a)\1", "[z-a]"])
def test_what_cannot_be_read_is_told(pattern):
    assert why_no_pattern(pattern)


def test_a_worker_that_reads_patterns_does_not_import_pandas():
    program = (
        "import sys; from lockstep.contracts.pattern import matched;"
        "matched('^a$', ['a']); print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
