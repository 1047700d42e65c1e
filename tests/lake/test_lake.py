"""The lake: what was written is what is read, each event once, and nothing else is let in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.contracts import Contract
from lockstep.errors import LakeError, UsageError
from lockstep.lake import (
    LANDED,
    days,
    fingerprint,
    input_fingerprint,
    new_events,
    partition_files,
    read_partition,
    require_day,
    state_days,
    state_files,
    write_partition,
)
from lockstep.windows.semantics import NO_WINDOWS, StateSource, WindowSet, WindowSpec

DAY = date(2013, 10, 1)
NOON = datetime(2013, 10, 1, 12, tzinfo=UTC)
CONTRACT = Contract.from_document(
    {
        "x-lockstep": {
            "name": "shop.order",
            "version": 1,
            "source": "orders",
            "id": "id",
            "time": "at",
        },
        "properties": {
            "id": {"type": "string", "maxLength": 10},
            "at": {
                "type": "integer",
                "x-unit": "timestamp-micros",
                "minimum": 0,
                "maximum": 4_000_000_000_000_000,
            },
            "count": {"type": "integer", "minimum": 0, "maximum": 100},
            "price": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
            "note": {"type": "string", "maxLength": 10},
        },
        "required": ["id", "at", "count"],
    }
)


def orders(ids: str, *, at: datetime = NOON, price: float = 1.0) -> pa.Table:
    schema = pa.schema([CONTRACT.arrow_schema.field(n) for n in ("id", "at", "count", "price")])
    rows = [{"id": id, "at": at, "count": 1, "price": price} for id in ids]
    return pa.Table.from_pylist(rows, schema=schema)


def ids(table: pa.Table) -> str:
    return "".join(table.column("id").to_pylist())


def test_reads_what_was_written_in_order_with_absent_columns_as_null(tmp_path: Path) -> None:
    write_partition(str(tmp_path), "orders", DAY, "b", orders("cd"))
    write_partition(str(tmp_path), "orders", DAY, "a", orders("ba"))
    table = read_partition(str(tmp_path), CONTRACT, DAY)
    assert ids(table) == "bacd"
    assert table.schema.names == CONTRACT.arrow_schema.names
    assert table.column("note").null_count == 4
    assert read_partition(str(tmp_path), CONTRACT, DAY, ["price"]).schema.names == [
        "id",
        "at",
        "price",
    ]


def test_the_first_copy_counts_and_another_time_is_another_event(tmp_path: Path) -> None:
    later = NOON + timedelta(microseconds=1)
    write_partition(str(tmp_path), "orders", DAY, "b", orders("xy", price=2))
    write_partition(str(tmp_path), "orders", DAY, "a", orders("zxx", price=1))
    write_partition(str(tmp_path), "orders", DAY, "c", orders("x", at=later, price=3))
    table = read_partition(str(tmp_path), CONTRACT, DAY)
    assert ids(table) == "zxyx"
    assert table.column("price").to_pylist() == [1, 1, 2, 3]


def test_writing_a_batch_again_replaces_it_whole(tmp_path: Path) -> None:
    folder = tmp_path / "orders" / f"date={DAY}" / "batch=a"
    write_partition(str(tmp_path), "orders", DAY, "a", orders("abc"))
    (folder / "part-00001.parquet").write_bytes((folder / "part-00000.parquet").read_bytes())
    (folder / ".unfinished").write_bytes(b"half")
    before = fingerprint(str(tmp_path), "orders", DAY)
    write_partition(str(tmp_path), "orders", DAY, "a", orders("abd"))
    assert ids(read_partition(str(tmp_path), CONTRACT, DAY)) == "abd"
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    assert fingerprint(str(tmp_path), "orders", DAY) != before


def test_a_failed_write_leaves_the_batch_as_it_was(tmp_path: Path) -> None:
    write_partition(str(tmp_path), "orders", DAY, "a", orders("abc"))
    before = fingerprint(str(tmp_path), "orders", DAY)
    with pytest.raises(AttributeError):
        write_partition(str(tmp_path), "orders", DAY, "a", object())
    assert fingerprint(str(tmp_path), "orders", DAY) == before
    assert len(list((tmp_path / "orders" / f"date={DAY}" / "batch=a").iterdir())) == 1


def test_fingerprint_depends_on_names_and_bytes_alone(tmp_path: Path) -> None:
    for lake, batches in (("one", "ab"), ("two", "ba"), ("three", "ac")):
        for batch in batches:
            write_partition(str(tmp_path / lake), "orders", DAY, batch, orders("xy"))
    one, two, three = (
        fingerprint(str(tmp_path / lake), "orders", DAY) for lake in ("one", "two", "three")
    )
    assert one == two != three


def test_days_are_listed(tmp_path: Path) -> None:
    for day in (date(2013, 10, 2), DAY):
        write_partition(str(tmp_path), "orders", day, "a", orders("a"))
    (tmp_path / "orders" / "_temporary").mkdir()
    assert days(str(tmp_path), "orders") == [DAY, date(2013, 10, 2)]
    assert days(str(tmp_path), "nothing") == []


def test_a_missing_day_is_named_with_what_there_is(tmp_path: Path) -> None:
    write_partition(str(tmp_path), "orders", DAY, "a", orders("a"))
    with pytest.raises(LakeError, match=r"orders/date=2013-10-05 .*1 days, 2013-10-01 to"):
        partition_files(str(tmp_path), "orders", date(2013, 10, 5))
    with pytest.raises(LakeError, match="nowhere has no days"):
        fingerprint(str(tmp_path), "nowhere", DAY)


def test_an_empty_day_is_an_error(tmp_path: Path) -> None:
    write_partition(str(tmp_path), "orders", DAY, "a", orders(""))
    with pytest.raises(LakeError, match="has no events"):
        read_partition(str(tmp_path), CONTRACT, DAY)
    (tmp_path / "orders" / "date=2013-10-02" / "batch=a").mkdir(parents=True)
    with pytest.raises(LakeError, match="has no Parquet file"):
        partition_files(str(tmp_path), "orders", date(2013, 10, 2))


def test_an_event_of_another_day_is_named(tmp_path: Path) -> None:
    table = orders("ab", at=datetime(2013, 10, 2, tzinfo=UTC))
    write_partition(str(tmp_path), "orders", DAY, "a", table)
    with pytest.raises(LakeError, match=r"2 events .* id 'a' with at 2013-10-02 00:00:00"):
        read_partition(str(tmp_path), CONTRACT, DAY)


def test_the_last_day_of_the_calendar_is_a_day_like_others(tmp_path: Path) -> None:
    last = date(9999, 12, 31)
    write_partition(str(tmp_path), "orders", last, "one", orders("a"))
    with pytest.raises(LakeError, match="orders/date=9999-12-31 are of another UTC day"):
        read_partition(str(tmp_path), CONTRACT, last)


def test_an_id_however_long_is_told_in_a_line(tmp_path: Path) -> None:
    row = orders("a", at=NOON + timedelta(days=1)).to_pylist()[0] | {"id": "x\n" * 50_000}
    table = pa.Table.from_pylist([row], schema=orders("a").schema)
    with pytest.raises(LakeError) as told:
        # Before any row is judged: nothing has said yet that an id is at most so long.
        require_day(table, CONTRACT, DAY)
    assert "e.g. id 'x" in told.value.message
    assert len(told.value.message) < 400


@pytest.mark.parametrize("micros", [2**62, -(2**62)])
def test_an_event_of_no_year_of_ours_is_named(tmp_path: Path, micros: int) -> None:
    times = pa.array([micros], pa.timestamp("us", "UTC"))
    table = orders("a")
    table = table.set_column(table.schema.get_field_index("at"), "at", times)
    write_partition(str(tmp_path), "orders", DAY, "a", table)
    with pytest.raises(LakeError, match=r"1 events .* id 'a' with at -?\d{5}-"):
        read_partition(str(tmp_path), CONTRACT, DAY)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("count", pa.array(["1", "2"]), "'count' has type string, not int64"),
        ("price", pa.array([1, 2]), "'price' has type int64, not double"),
        ("at", pa.array([NOON.replace(tzinfo=None)] * 2), "'at' has type timestamp"),
        ("count", None, "'count' is missing"),
    ],
)
def test_a_column_missing_or_of_another_type_is_named(
    tmp_path: Path, column: str, values: pa.Array | None, said: str
) -> None:
    table = orders("ab").drop_columns([column])
    if values is not None:
        table = table.append_column(column, values)
    write_partition(str(tmp_path), "orders", DAY, "a", table)
    with pytest.raises(LakeError, match=f"batch=a/part-00000.parquet .*{said}"):
        read_partition(str(tmp_path), CONTRACT, DAY)


def test_narrower_types_are_widened(tmp_path: Path) -> None:
    table = orders("ab")
    narrow = pa.table(
        {
            "id": table.column("id").cast(pa.large_string()),
            "at": table.column("at").cast(pa.timestamp("ms", "UTC")),
            "count": table.column("count").cast(pa.int16()),
            "price": table.column("price").cast(pa.float32()),
        }
    )
    write_partition(str(tmp_path), "orders", DAY, "a", narrow)
    found = read_partition(str(tmp_path), CONTRACT, DAY, ["count", "price"])
    assert found.equals(table.cast(found.schema))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "orders" / f"date={DAY}" / "batch=a"
    write_partition(str(tmp_path), "orders", DAY, "a", orders("ab"))
    whole = (folder / "part-00000.parquet").read_bytes()
    (folder / "part-00000.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LakeError, match=r"cannot be read as shop\.order"):
        read_partition(str(tmp_path), CONTRACT, DAY)
    (folder / "part-00000.parquet").write_bytes(whole)
    (folder / "_SUCCESS").touch()
    assert ids(read_partition(str(tmp_path), CONTRACT, DAY)) == "ab"
    pq.write_table(orders("z"), folder.parent / "stray.parquet")
    with pytest.raises(LakeError, match=r"stray.parquet is no file of a partition"):
        read_partition(str(tmp_path), CONTRACT, DAY)


def test_names_that_would_leave_the_lake_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.\./x' is no name"):
        write_partition(str(tmp_path), "orders", DAY, "../x", orders("a"))
    with pytest.raises(UsageError, match="cannot be opened"):
        days("nosuch://bucket/lake", "orders")


def test_a_lake_may_be_a_uri(tmp_path: Path) -> None:
    write_partition(tmp_path.as_uri(), "orders", DAY, "a", orders("ab"))
    assert ids(read_partition(str(tmp_path), CONTRACT, DAY)) == "ab"


def landed(ids: str, *, partition: int, offset: int, price: float) -> pa.Table:
    """Orders with what Kafka said of them, at offsets from `offset` on."""
    table = orders(ids, price=price)
    rows = range(offset, offset + table.num_rows)
    columns = ([NOON] * len(rows), [partition] * len(rows), list(rows))
    for field, values in zip(LANDED, columns, strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return table


def test_copies_from_kafka_come_first_by_partition_and_offset(tmp_path: Path) -> None:
    write_partition(str(tmp_path), "orders", DAY, "a", orders("pqxyz", price=9))
    write_partition(
        str(tmp_path), "orders", DAY, "b", landed("xyz", partition=1, offset=3, price=1)
    )
    write_partition(str(tmp_path), "orders", DAY, "c", landed("yz", partition=1, offset=2, price=2))
    write_partition(str(tmp_path), "orders", DAY, "d", landed("z", partition=0, offset=9, price=3))
    table = read_partition(str(tmp_path), CONTRACT, DAY)
    assert dict(zip(table["id"].to_pylist(), table["price"].to_pylist(), strict=True)) == {
        "p": 9,
        "q": 9,
        "x": 1,
        "y": 2,
        "z": 3,
    }
    assert ids(table) == "pqxyz"
    assert table.schema.names == CONTRACT.arrow_schema.names


def counts(hops: int) -> WindowSet:
    """A window over orders that reaches `hops` hours back."""
    source = StateSource("orders", 60_000_000, 5_000_000, dict(CONTRACT.document))
    hour = 3_600_000_000
    return WindowSet(
        [source], [WindowSpec("busy", "orders", ("id",), "count", hops * hour, hour, 0)]
    )


def test_windows_need_the_days_they_see_and_no_others(tmp_path: Path) -> None:
    before = DAY - timedelta(days=1)
    write_partition(str(tmp_path), "orders", DAY, "a", orders("a"))
    with pytest.raises(LakeError, match=rf"orders \(busy\) of the events of {DAY} .*={before}"):
        state_files(str(tmp_path), counts(1), [DAY])
    # A file without a row says that nothing happened on that day.
    write_partition(str(tmp_path), "orders", before, "a", orders(""))
    assert state_days(counts(1), [DAY]) == {"orders": [before, DAY]}
    assert [
        path.split("/")[1] for path in state_files(str(tmp_path), counts(1), [DAY])["orders"]
    ] == [
        f"date={before}",
        f"date={DAY}",
    ]
    with pytest.raises(LakeError, match=f"date={before - timedelta(days=1)}"):
        state_files(str(tmp_path), counts(25), [DAY])


def test_an_input_is_its_day_and_the_days_that_windows_see(tmp_path: Path) -> None:
    before = DAY - timedelta(days=1)
    for day in (before, DAY, DAY - timedelta(days=2)):
        write_partition(str(tmp_path), "orders", day, "a", orders("a"))
    own = fingerprint(str(tmp_path), "orders", DAY)
    assert input_fingerprint(str(tmp_path), "orders", DAY, NO_WINDOWS) == own
    seen = input_fingerprint(str(tmp_path), "orders", DAY, counts(1))
    assert seen != own
    write_partition(str(tmp_path), "orders", DAY - timedelta(days=2), "b", orders("late"))
    assert input_fingerprint(str(tmp_path), "orders", DAY, counts(1)) == seen
    write_partition(str(tmp_path), "orders", before, "b", orders("late"))
    assert input_fingerprint(str(tmp_path), "orders", DAY, counts(1)) != seen


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Parquet keeps whatever bytes it is given as a string."""
    bad = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(np.array([0, 1, 3], np.int32)), pa.py_buffer(b"a\xff\xfe")],
    )
    table = orders("ab").append_column("note", bad)
    write_partition(str(tmp_path), "orders", DAY, "a", table)
    with pytest.raises(LakeError, match=r"column 'note' holds no text: .*string index 1") as said:
        read_partition(str(tmp_path), CONTRACT, DAY)
    assert "part-00000.parquet cannot be read as shop.order" in said.value.message
    assert said.value.next


def test_only_events_that_no_other_batch_has_are_new(tmp_path: Path) -> None:
    lake, midnight = str(tmp_path), datetime(2013, 10, 2, tzinfo=UTC)
    write_partition(lake, "orders", DAY, "loaded", orders("abc"))
    copies = landed("abca", partition=0, offset=3, price=2.0)
    write_partition(lake, "orders", DAY, "landed-1", copies)
    assert new_events(lake, CONTRACT, DAY, {"landed-1"}) == (0, 0)
    more = landed("cde", partition=1, offset=0, price=2.0)
    more = more.set_column(
        more.schema.get_field_index("_available_at"),
        LANDED.field("_available_at"),
        pa.array([NOON, NOON, midnight], LANDED.field("_available_at").type),
    )
    write_partition(lake, "orders", DAY, "landed-2", more)
    assert new_events(lake, CONTRACT, DAY, {"landed-2"}) == (2, 1)
    # Two stretches of one landing: what both of them have counts once, as its first copy does.
    write_partition(lake, "orders", DAY, "landed-3", landed("ef", partition=0, offset=9, price=1.0))
    assert new_events(lake, CONTRACT, DAY, {"landed-2", "landed-3"}) == (3, 0)
    # The same id at another time is another event.
    later = orders("a", at=NOON + timedelta(hours=1))
    write_partition(lake, "orders", DAY, "loaded-too", later)
    (tmp_path / "orders/date=2013-10-01/batch=loaded-too/broken.parquet").write_bytes(b"PAR1")
    assert new_events(lake, CONTRACT, DAY, {"landed-2"}) == (1, 0)


def test_loaded_files_that_cannot_be_read_do_not_keep_an_event_from_being_new(
    tmp_path: Path,
) -> None:
    """Whoever reads the day refuses them by name; a landing has to go on."""
    lake = str(tmp_path)
    write_partition(lake, "orders", DAY, "landed-1", landed("ab", partition=0, offset=0, price=2.0))
    write_partition(lake, "orders", DAY, "no-id", orders("a").drop_columns(["id"]))
    ids = pa.array(["a", None], pa.string())
    some = orders("ax")
    some = some.set_column(some.schema.get_field_index("id"), "id", ids)
    write_partition(lake, "orders", DAY, "null-id", some)
    assert new_events(lake, CONTRACT, DAY, {"landed-1"}) == (1, 0)
