"""What is said of values from outside: always sayable, never long, no terminal obeys it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.errors import ContractError, printable, reason_of

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT, st.integers(1, 50))
def test_any_text_becomes_one_short_line_of_visible_characters(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert shown.isprintable()
    assert len(shown) <= longest
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zürich ━ 東京 🛫", "Zürich ━ 東京 🛫"),
        ("\x1b[2J\r\n\x00\x9b", r"\x1b[2J\r\n\x00\x9b"),
        ("a\u202eb\u2028\ud800", r"a\u202eb\u2028\ud800"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines_where_they_are_wanted() -> None:
    assert printable("a\nb\r\tc", lines=True) == "a\nb\\r\\tc"


def test_an_error_becomes_a_reason_whatever_it_says() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise TypeError("sequence item 0: expected str instance, NoneType found")

    assert reason_of(MuteError()) == "MuteError"
    assert reason_of(ContractError("too much", next="less")) == "ContractError: too much"
    assert reason_of(ValueError("a\x00" * 1_000)).startswith(r"ValueError: a\x00a\x00")
    assert len(reason_of(ValueError("x" * 1_000))) == 500
