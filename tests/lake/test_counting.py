"""Which rows of a day count: judge, then the first copy; and copies that contradict are told."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.contracts import Judge, Limits
from lockstep.lake import (
    LANDED,
    Conflict,
    counted,
    counting,
    read_rows,
    told_refused,
    write_partition,
)
from tests.lake.test_lake import CONTRACT, DAY, NOON, orders

SECOND = 1_000_000
LIMITS = Limits(clock_skew=5 * SECOND)


def row(
    id: str = "x",
    *,
    at: datetime = NOON,
    price: float | None = 1.0,
    count: int | None = 1,
    place: tuple[int, int] | None = None,
    seen: datetime | None = None,
) -> dict[str, Any]:
    partition, offset = place or (None, None)
    return {
        **{"id": id, "at": at, "count": count, "price": price, "note": None},
        **dict(zip(LANDED.names, (seen, partition, offset), strict=True)),
    }


def rows(*given: dict[str, Any]) -> pa.Table:
    schema = [field.with_nullable(True) for field in CONTRACT.arrow_schema]
    return pa.Table.from_pylist(list(given), schema=pa.schema([*schema, *LANDED]))


def test_what_is_refused_is_no_copy() -> None:
    """An invalid, an early and a null row come first, and take no valid one's place."""
    early = NOON - timedelta(seconds=6)
    found = counted(
        rows(
            row(price=1e6, place=(0, 1), seen=NOON),
            row(price=2.0, place=(0, 2), seen=early),
            row(count=None),
            row(price=3.0, place=(0, 3), seen=NOON),
            row(price=3.0, place=(1, 0), seen=NOON),
            row("y"),
        ),
        Judge(CONTRACT, LIMITS),
    )
    assert found.table["id"].to_pylist() == ["x", "y"]
    assert found.table["_kafka_offset"].to_pylist() == [3, None]
    assert (found.copies, found.conflicts) == (1, ())
    assert sorted(found.reasons) == [0, 1, 2]
    assert found.refused == {
        "price is …, outside […, …]": 1,
        "wrong clock: at is … s after its record's timestamp, more than the clock skew of … s": 1,
        "count is null, but may not be": 1,
    }
    told = told_refused(found.refused, "orders")
    assert told.startswith("; 3 rows of orders refused (1 as price is …, outside […, …]; 1 as ")


def test_a_row_that_never_was_on_kafka_became_readable_when_it_happened() -> None:
    far = datetime(2013, 10, 1, 23, tzinfo=UTC)
    assert not counted(rows(row(at=far)), Judge(CONTRACT, Limits(0, 0, 0))).reasons


def test_copies_that_contradict_are_told_with_their_places() -> None:
    found = counted(
        rows(
            row(price=1.0, place=(1, 5), seen=NOON),
            row(price=2.0, place=(0, 9), seen=NOON),
            row(price=2.0, place=(0, 10), seen=NOON),
            row(price=1.0, count=7),
            row("y", price=None),
            row("y", price=math.nan),
            row("z", place=(0, 1), seen=NOON),
            row("z", place=(0, 2), seen=NOON + timedelta(hours=1)),
        ),
        Judge(CONTRACT, LIMITS),
    )
    assert found.table["price"].to_pylist()[0] == 2.0
    assert found.copies == 5
    # What reads as null is null, and when a copy became readable is not what it says.
    assert found.conflicts == (Conflict("x", NOON, ((0, 9), (1, 5), None), ("count", "price")),)


def test_conflicts_are_looked_for_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever counts a day without marking them does not pay for them."""
    looked = []
    find = counting._conflicts
    monkeypatch.setattr(counting, "_conflicts", lambda *of: looked.append(of) or find(*of))
    found = counted(rows(row(price=1.0), row(price=2.0)), Judge(CONTRACT))
    assert (found.copies, looked) == (1, [])
    assert found.conflicts == found.conflicts
    assert len(looked) == 1


def test_an_empty_file_is_a_day_on_which_nothing_happened(tmp_path) -> None:
    write_partition(str(tmp_path), "orders", DAY, "a", orders(""))
    found = counted(read_rows(str(tmp_path), CONTRACT, DAY), Judge(CONTRACT))
    assert (found.table.num_rows, found.copies, found.refused) == (0, 0, {})
    with pytest.raises(Exception, match="has no partition"):
        read_rows(str(tmp_path), CONTRACT, date(2013, 10, 2))


_PLACES = st.one_of(st.none(), st.tuples(st.integers(0, 1), st.integers(0, 3)))
_DRAWN = st.lists(
    st.tuples(
        st.sampled_from("ab"), _PLACES, st.sampled_from([1.0, 2.0, 500.0]), st.integers(-6, 6)
    ),
    max_size=12,
    unique_by=lambda drawn: (drawn[1], drawn[0]) if drawn[1] else object(),
)


@given(_DRAWN)
def test_counting_is_the_rules(drawn: list[Any]) -> None:
    """Against the rules said once more, row by row."""
    given_rows = [
        row(id, place=place, price=price, seen=NOON + timedelta(seconds=behind) if place else None)
        for id, place, price, behind in drawn
    ]
    found = counted(rows(*given_rows), Judge(CONTRACT, LIMITS))
    good = [
        number
        for number, (_, place, price, behind) in enumerate(drawn)
        if price <= 100 and (place is None or behind >= -5)
    ]
    order = sorted(good, key=lambda n: (drawn[n][1] is None, drawn[n][1] or (0, 0), n))
    firsts: dict[str, int] = {}
    for number in order:
        firsts.setdefault(drawn[number][0], number)
    expected = [given_rows[number] for number in sorted(firsts.values())]
    assert found.table.to_pylist() == expected
    assert found.copies == len(good) - len(expected)
    assert sorted(found.reasons) == sorted(set(range(len(drawn))) - set(good))
    several = {id for id in "ab" if len({drawn[n][2] for n in good if drawn[n][0] == id}) > 1}
    assert {conflict.id for conflict in found.conflicts} == several
