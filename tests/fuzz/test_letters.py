"""The dead letters' entrance: whatever was refused becomes a letter that fits, and is listed."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import strategies as st

from lockstep.cli.output import visible
from lockstep.cli.stream import letter_text
from streaming.dead_letters import LEAST_ROOM, DeadLetter, letter_of
from streaming.dlq import facts
from tests.fuzz.amount import AMOUNTS, fuzz
from tests.streaming.messages import message
from tests.streaming.test_dead_letters import bytes_of, read_back

TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
OURS = st.sampled_from(["reason", "topic", "partition", "offset", "bytes", "left_out", "begins"])
BYTES = st.binary(max_size=300) | st.builds(
    lambda part, times: part * times, st.binary(min_size=1, max_size=4), st.integers(0, 40_000)
)
HEADERS = st.lists(st.tuples(NAMES | OURS.map("lockstep.{}".format), st.none() | BYTES), max_size=8)


@AMOUNTS
def test_a_letter_always_fits_and_can_be_read_back(amount: int) -> None:
    def check(
        value: bytes | None, key: bytes | None, headers: Any, reason: str, room: int, offset: int
    ) -> None:
        dead = DeadLetter("events", 0, offset, reason, value, key, headers)
        letter = letter_of(dead, room)
        assert bytes_of(letter) <= room
        assert letter.value in (value, None)
        assert letter.key in (key, None)
        said = read_back(letter)
        assert (said["topic"], said["partition"], said["offset"]) == ("events", 0, offset)
        assert said["reason"].isprintable()
        assert ("value" in said["left_out"]) == (letter.value != value)
        assert ("key" in said["left_out"]) == (letter.key != key)
        if value is not None:
            assert said["bytes"] == len(value)
            assert said["sha256"] == hashlib.sha256(value).hexdigest()
        assert visible(letter_text(said)) == letter_text(said)

    fuzz(
        amount,
        check,
        value=st.none() | BYTES,
        key=st.none() | BYTES,
        headers=HEADERS,
        reason=TEXT | TEXT.map(lambda text: text * 100),
        room=st.integers(LEAST_ROOM, 200_000),
        offset=st.integers(0, 2**63 - 1),
    )


@AMOUNTS
def test_whatever_lies_in_the_topic_is_listed(amount: int) -> None:
    def check(value: bytes | None, key: bytes | None, headers: Any, at: int) -> None:
        said = facts(message(("dead", 0, 1), key, value, headers, at))
        shown = letter_text(said)
        assert shown.isprintable()
        assert said["bytes"] >= 0
        assert -1 <= said["offset"] < 2**63

    fuzz(
        amount,
        check,
        value=st.none() | BYTES,
        key=st.none() | BYTES,
        headers=st.none() | HEADERS,
        at=st.integers(-1, 2**62),
    )
