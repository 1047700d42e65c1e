"""A dead letter fits its topic, says why and where, and never holds a part of an event."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from kafka.record.default_records import DefaultRecordBatchBuilder

from lockstep.cli.stream import letter_text
from streaming.dead_letters import LEAST_ROOM, DeadLetter, Letter, dead_letter, letter_of
from streaming.dlq import facts
from tests.streaming.messages import message

__all__ = ["bytes_of", "read_back"]


def bytes_of(letter: Letter) -> int:
    """What a letter takes in a batch of its own, by another client's writer."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 40)
    builder.append(0, 0, letter.key, letter.value, letter.headers)
    return len(builder.build())


def read_back(letter: Letter) -> dict[str, Any]:
    """What `lockstep dlq list` knows of it."""
    return facts(message(("dead", 0, 7), letter.key, letter.value, letter.headers, 5))


def dead(value: bytes | None, **more: Any) -> DeadLetter:
    return DeadLetter("events", 3, 2**62, more.pop("reason", "why"), value, **more)


def test_a_letter_is_the_event_byte_for_byte() -> None:
    headers = [("trace", b"\xff"), ("trace", None), ("lockstep.reason", b"mine")]
    letter = letter_of(dead(b"\x00{", key=b"", headers=headers), LEAST_ROOM)
    assert (letter.value, letter.key, letter.headers[:3]) == (b"\x00{", b"", headers)
    said = read_back(letter)
    assert said["reason"] == "why"
    assert (said["topic"], said["partition"], said["offset"]) == ("events", 3, 2**62)
    assert (said["bytes"], said["left_out"]) == (2, [])


@pytest.mark.parametrize(
    ("value", "key", "headers", "left_out"),
    [
        (b"v" * 100_000, b"k", [("h", b"x")], ["value"]),
        (b"v", b"k" * 100_000, [("h", b"x")], ["key"]),
        (b"v", b"k", [("h", b"x" * 100_000)], ["headers"]),
        (b"v", b"k", [("", None)] * 10_000, ["headers"]),
        (b"v" * 100_000, b"k" * 100_000, [("h" * 100_000, None)], ["key", "value", "headers"]),
    ],
)
def test_what_does_not_fit_is_left_out_whole_and_named(
    value: bytes, key: bytes, headers: list[tuple[str, bytes | None]], left_out: list[str]
) -> None:
    letter = letter_of(dead(value, key=key, headers=headers), 20_000)
    said = read_back(letter)
    assert said["left_out"] == left_out
    assert letter.value == (None if "value" in left_out else value)
    assert letter.key == (None if "key" in left_out else key)
    assert bytes_of(letter) <= 20_000
    assert said["sha256"] == hashlib.sha256(value).hexdigest()
    assert said["bytes"] == len(value)
    if "value" in left_out:
        assert said["begins"] == "v" * 200


def test_a_tombstone_is_told_from_a_value_that_was_left_out() -> None:
    assert read_back(letter_of(dead(None), LEAST_ROOM))["sha256"] is None
    assert read_back(letter_of(dead(b""), LEAST_ROOM))["sha256"] is not None


def test_the_longest_of_everything_fits_into_the_least_room() -> None:
    longest = DeadLetter("t" * 249, 2**31 - 1, 2**63 - 1, "🛫" * 9_000, "🛫".encode() * 3_000)
    assert bytes_of(letter_of(longest, LEAST_ROOM)) <= LEAST_ROOM


def test_headers_that_cannot_be_read_are_named() -> None:
    class Unreadable:
        def __getattr__(self, name: str) -> Any:
            return lambda: {"partition": 0, "offset": 1}.get(name)

        def headers(self) -> Any:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    message: Any = Unreadable()
    assert read_back(letter_of(dead_letter(message, "why"), LEAST_ROOM))["left_out"] == ["headers"]


def test_a_listing_says_what_is_only_where_the_event_is() -> None:
    said = read_back(letter_of(dead(b"v" * 100_000, reason="\x1b[2J[bold]"), 20_000))
    assert letter_text(said) == (
        r"events[3]@4611686018427387904: \x1b[2J[bold]"
        " (100,000 bytes; only there, not in the letter: value)"
    )
    foreign = facts(message(("dead", 1, 7), None, None, [("lockstep.topic", None)], 5))
    assert letter_text(foreign) == "not a letter of a worker: 1@7"
