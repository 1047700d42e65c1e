"""The events' entrance: any value is scored and answered, or refused with a reason."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from lockstep.contracts import Judge, Limits
from lockstep.scoring import OnnxScorer
from streaming import codec
from streaming.codec import ScoredEvent
from streaming.dead_letters import LEAST_ROOM, dead_letter, letter_of
from streaming.judging import available_at
from streaming.scoring import score_survivors
from tests.contracts.test_decoding import GOOD
from tests.fuzz.amount import AMOUNTS, fuzz
from tests.small_model import departures, small_compiled
from tests.streaming.messages import message
from tests.streaming.test_dead_letters import read_back

__all__ = ["values_like"]

_MAX_BYTES = 65_536
_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
_ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | _ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


def values_like(good: dict[str, Any]) -> st.SearchStrategy[bytes | None]:
    """Values of records, from nearly good ones to any bytes."""

    def changed(changes: dict[str, Any], gone: set[str]) -> bytes:
        document = {k: v for k, v in {**good, **changes}.items() if k not in gone}
        return json.dumps(document).encode()

    names = st.sampled_from(sorted(good))
    nearly = st.builds(
        changed,
        st.dictionaries(names, _ANY_JSON, max_size=2),
        st.just(set()) | st.sets(names, max_size=1),
    )

    def torn(value: bytes, at: int, inserted: bytes) -> bytes:
        at = min(at, len(value))
        return value[:at] + inserted + value[at + len(inserted) % 3 :]

    junk = st.binary(max_size=6) | st.sampled_from(
        [b"\xef\xbb\xbf", b"\0", b"\xed\xa0\x80", rb"\ud800", rb"\u0000", b"1" * 400, b"1e999"]
    )
    wrapped = st.builds(
        lambda opening, times, value: opening * times + value,
        st.sampled_from([b"[", b'{"x":', b" ", b"\n"]),
        st.sampled_from([1, 100, 5_000, 70_000]),
        nearly,
    )
    twice = st.builds(
        lambda value, name, other: value[:-1] + json.dumps({name: other}).encode()[1:].rjust(1),
        nearly.filter(lambda value: len(value) > 2),
        names,
        _ANY_JSON,
    ).map(lambda value: value.replace(b'""', b'","', 1))
    return (
        nearly
        | st.builds(torn, nearly, st.integers(0, 600), junk)
        | wrapped
        | twice
        | st.binary(max_size=200)
        | st.sampled_from([None, b"", b"{}", b"[]", b"null"])
        | nearly.map(lambda value: value.decode().encode("utf-16"))
    )


@cache
def _scorer() -> OnnxScorer:
    return OnnxScorer(small_compiled(20).model)


@AMOUNTS
def test_any_value_is_scored_and_answered_or_refused_with_a_reason(amount: int) -> None:
    contract, scorer = departures(), _scorer()
    judge = Judge(contract, Limits(), max_bytes=_MAX_BYTES)
    good = json.dumps(GOOD).encode()
    expected = scorer.score(judge.records([good], np.zeros(1, np.int64)).columns)

    def check(values: list[bytes | None], stamps: list[int]) -> None:
        given = [good, *values, good]
        stamps = [*stamps, *[0] * len(given)][: len(given)]
        messages = [
            message(("events", 0, number), None, value, ms=stamp)
            for number, (value, stamp) in enumerate(zip(given, stamps, strict=True))
        ]
        judged = judge.records([m.value() for m in messages], available_at(messages))
        kept = judged.kept.tolist()
        assert sorted([*kept, *judged.refused]) == list(range(len(given)))
        if 0 <= stamps[0] < 2**41:
            assert kept[0] == 0
        columns = judged.columns

        def answer(rows: Any) -> Any:
            part = {name: column[rows] for name, column in columns.items()}
            return scorer.score(part), np.empty((len(rows), 0), np.float32)

        survivors = score_survivors(answer, len(kept), scorer)
        assert sorted([*survivors.rows.tolist(), *survivors.poison]) == list(range(len(kept)))
        for number, score in zip(survivors.rows.tolist(), survivors.score.tolist(), strict=True):
            if given[kept[number]] == good:
                assert score == expected.score[0]
        ids = columns[contract.id][survivors.rows].tolist()
        times = columns[contract.time][survivors.rows].tolist()
        scores = survivors.score.tolist(), survivors.margin.tolist()
        made = codec.encode(
            ids, times, *scores, [1] * len(ids), ["d"] * len(ids), [True] * len(ids)
        )
        for event_id, payload in zip(ids, made, strict=True):
            assert len(payload) + len(event_id.encode()) <= codec.room_for(event_id)
            assert msgspec.json.decode(payload, type=ScoredEvent).event_id == event_id
        reasons = judged.refused | {kept[row]: why for row, why in survivors.poison.items()}
        for number, why in reasons.items():
            said = read_back(letter_of(dead_letter(messages[number], why), LEAST_ROOM))
            assert said["reason"]
            assert said["reason"].isprintable()
            assert said["offset"] == number

    fuzz(
        amount,
        check,
        values=st.lists(values_like(GOOD), min_size=1, max_size=4),
        stamps=st.lists(
            st.integers(0, 2**41) | st.sampled_from([-1, -(2**63), 2**63 - 1, 2**62]), max_size=6
        ),
    )
