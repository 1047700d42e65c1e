"""Parquet files as other programs write them, or as accidents leave them, and what is said of each.

All hold five orders (id, at, count, price) of one day, more or less.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.contracts import Contract

DAY = date(2013, 10, 1)
CONTRACT = Contract.from_document(
    {
        "x-lockstep": {
            **{"name": "shop.order", "version": 1, "source": "orders"},
            **{"id": "id", "time": "at"},
        },
        "properties": {
            "id": {"type": "string", "maxLength": 10},
            "at": {
                **{"type": "integer", "x-unit": "timestamp-micros"},
                **{"minimum": 0, "maximum": 4_000_000_000_000_000},
            },
            "count": {"type": "integer", "minimum": 0, "maximum": 100},
            "price": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
        },
        "required": ["id", "at", "count"],
    }
)
FOLDER = f"orders/date={DAY}/batch=made"
NAME = "part-00000.parquet"
_NOON = pa.array([datetime(2013, 10, 1, 12, tzinfo=UTC)] * 5, pa.timestamp("us", "UTC"))
GOOD = {
    "id": pa.array([f"order-{n}" for n in range(5)]),
    "at": _NOON,
    "count": pa.array(range(5), pa.int64()),
    "price": pa.array([1.5, None, 0.0, 99.5, 7.25], pa.float64()),
}


@dataclass(frozen=True)
class Nasty:
    """A file: how it is written into a folder, what is said of it, and whether Spark fails."""

    write: Callable[[Path], None]
    said: str | None = None
    """A part of the refusal; None: it is taken."""
    spark_fails: bool = False


def table(names: list[str] | None = None, **columns: pa.Array) -> pa.Table:
    """The good table with columns replaced or added (None: left out), perhaps renamed."""
    found = {name: column for name, column in {**GOOD, **columns}.items() if column is not None}
    return pa.Table.from_arrays(list(found.values()), names=names or list(found))


def written(content: pa.Table, **options: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pq.write_table(content, folder / NAME, **options)

    return write


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pq.write_table(table(), folder / NAME)
        (folder / NAME).write_bytes(change((folder / NAME).read_bytes()))

    return write


def summed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """With the checksum file that Hadoop would have written, changed."""

    def write(folder: Path) -> None:
        pq.write_table(table(), folder / NAME)
        (folder / f".{NAME}.crc").write_bytes(change(checksums((folder / NAME).read_bytes())))

    return write


def checksums(content: bytes) -> bytes:
    blocks = [content[start : start + 512] for start in range(0, len(content), 512)]
    return (
        b"crc\0"
        + struct.pack(">I", 512)
        + b"".join(struct.pack(">I", zlib.crc32(block)) for block in blocks)
    )


def _without_groups(folder: Path) -> None:
    with pq.ParquetWriter(folder / NAME, table().schema):
        pass


def _replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    """With the one place that says `old` saying `new`."""
    assert content.count(old) == 1
    return content.replace(old, new)


def _flipped(content: bytes, *places: int) -> bytes:
    found = bytearray(content)
    for place in places:
        found[place] ^= 0xFF
    return bytes(found)


_COUNT, _PRICE = GOOD["count"], GOOD["price"]
_TYPE = "'{}' has type {}"

FILES: dict[str, Nasty] = {
    "good": Nasty(written(table())),
    "large strings": Nasty(written(table(id=GOOD["id"].cast(pa.large_string())))),
    "string views": Nasty(written(table(id=GOOD["id"].cast(pa.string_view())))),
    "a categorical": Nasty(written(table(id=GOOD["id"].dictionary_encode()))),
    "milliseconds": Nasty(written(table(at=_NOON.cast(pa.timestamp("ms", "UTC"))))),
    "narrow integers": Nasty(written(table(count=_COUNT.cast(pa.int8())))),
    "single floats": Nasty(written(table(price=_PRICE.cast(pa.float32())))),
    "no price": Nasty(written(table(price=None))),
    "a nested column more": Nasty(written(table(more=pa.array([{"x": [1]}] * 5)))),
    "nanoseconds more": Nasty(written(table(more=_NOON.cast(pa.timestamp("ns", "UTC"))))),
    "strangers in two cases": Nasty(written(table(x=_PRICE, X=_PRICE))),
    "brotli where nobody looks": Nasty(
        written(
            table(more=_PRICE),
            compression={**dict.fromkeys(GOOD, "snappy"), "more": "brotli"},
        )
    ),
    **{
        f"compressed with {codec}": Nasty(written(table(), compression=codec))
        for codec in ("snappy", "gzip", "zstd", "lz4", "none")
    },
    "pages of version 2": Nasty(written(table(), data_page_version="2.0", compression="zstd")),
    "byte streams split": Nasty(
        written(table(), use_dictionary=False, column_encoding={"price": "BYTE_STREAM_SPLIT"})
    ),
    "deltas": Nasty(
        written(
            table(),
            use_dictionary=False,
            column_encoding={"count": "DELTA_BINARY_PACKED", "id": "DELTA_BYTE_ARRAY"},
        )
    ),
    "its checksums": Nasty(summed(lambda sums: sums)),
    # Refused, and Spark would fail on them.
    "nanoseconds": Nasty(
        written(table(at=_NOON.cast(pa.timestamp("ns", "UTC")))),
        _TYPE.format("at", "timestamp[ns, tz=UTC], not timestamp[us, tz=UTC]"),
        True,
    ),
    "brotli": Nasty(written(table(), compression="brotli"), "compressed with BROTLI", True),
    "a column twice": Nasty(
        written(table(names=[*GOOD, "price"], more=_PRICE)), "'price' is there 2 times", True
    ),
    "a column in two cases": Nasty(
        written(table(names=[*GOOD, "Price"], more=_PRICE)), "(price, Price;", True
    ),
    "integers for a number": Nasty(written(table(price=_COUNT)), _TYPE.format("price", "i"), True),
    "numbers for an integer": Nasty(written(table(count=_PRICE)), _TYPE.format("count", "d"), True),
    "decimals": Nasty(
        written(table(price=pa.array([1] * 5, pa.int64()).cast(pa.decimal128(19, 0)))),
        _TYPE.format("price", "decimal128(19, 0)"),
        True,
    ),
    "half floats": Nasty(
        written(table(price=_PRICE.cast(pa.float16()))), _TYPE.format("price", "halffloat"), True
    ),
    "true and false": Nasty(
        written(table(count=pa.array([True] * 5))), _TYPE.format("count", "bool"), True
    ),
    "unsigned 64": Nasty(
        written(table(count=_COUNT.cast(pa.uint64()))), _TYPE.format("count", "uint64"), True
    ),
    "a list": Nasty(
        written(table(price=pa.array([[1.0]] * 5))), _TYPE.format("price", "list"), True
    ),
    "a struct": Nasty(
        written(table(price=pa.array([{"x": 1.0}] * 5))), _TYPE.format("price", "struct"), True
    ),
    "of fixed length": Nasty(
        written(table(id=pa.array([b"ab"] * 5, pa.binary(2)))), _TYPE.format("id", "fixed"), True
    ),
    "stale checksums": Nasty(
        summed(lambda sums: _flipped(sums, 9)), "is not what its checksum file", True
    ),
    "short checksums": Nasty(summed(lambda sums: sums[:12]), "rm ", True),
    "no checksums": Nasty(summed(lambda sums: b""), "its checksum file", True),
    "encrypted": Nasty(
        changed(lambda whole: b"PARE" + whole[4:-4] + b"PARE"), "cannot be read as", True
    ),
    "text": Nasty(changed(lambda whole: b"id,at,count\n"), "cannot be read as", True),
    "cut off": Nasty(changed(lambda whole: whole[:-3]), "cannot be read as", True),
    "half": Nasty(changed(lambda whole: whole[: len(whole) // 2]), "cannot be read as", True),
    "a footer of 2 GB": Nasty(
        changed(lambda whole: whole[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1"),
        "cannot be read as",
        True,
    ),
    "a damaged page": Nasty(changed(lambda whole: _flipped(whole, 20, 24)), "cannot be read", True),
    "a footer that is no text": Nasty(
        changed(lambda whole: _flipped(whole, whole.index(b"\x05price") + 1)),
        "cannot be read as",
    ),
    # The numbers of prices and nulls (4, 1), told as if they were of repetitions.
    "a footer that ends pyarrow's process": Nasty(
        changed(
            lambda whole: _replaced(
                whole, b"\x29\x06\x19\x26\x02\x08\0", b"\x19\x06\x19\x26\x02\x08\0"
            )
        ),
        "Repetition level histogram size mismatch",
    ),
    "a codec that nobody knows": Nasty(
        changed(lambda whole: _replaced(whole, b"\x05price\x15\x02", b"\x05price\x15\x7e")),
        "compressed with codec 63",
        True,
    ),
    "beyond the year 9999": Nasty(
        written(table(at=pa.array([2**60] * 5).cast(pa.timestamp("us", "UTC")))),
        "are of another UTC day, e.g. id 'order-0'",
    ),
    # Refused, where Spark reads something: what pyarrow reads of them is something else.
    "another case": Nasty(
        written(table(names=["id", "at", "count", "Price"])), "should be 'price'"
    ),
    "int96": Nasty(
        written(table(), use_deprecated_int96_timestamps=True), _TYPE.format("at", "timestamp[ns]")
    ),
    "local time": Nasty(
        written(table(at=_NOON.cast(pa.timestamp("us")))), _TYPE.format("at", "timestamp[us]")
    ),
    "unsigned": Nasty(
        written(table(count=_COUNT.cast(pa.uint32()))), _TYPE.format("count", "uint32")
    ),
    "dates": Nasty(
        written(table(count=_COUNT.cast(pa.int32()).cast(pa.date32()))),
        _TYPE.format("count", "date32"),
    ),
    "bytes": Nasty(written(table(id=GOOD["id"].cast(pa.binary()))), _TYPE.format("id", "binary")),
    "nulls": Nasty(written(table(price=pa.nulls(5))), _TYPE.format("price", "null")),
    "no count": Nasty(written(table(count=None)), "'count' is missing"),
    "nothing": Nasty(changed(lambda whole: b""), "cannot be read as"),
    # No rows at all is the partition's fault, not the file's.
    "no rows": Nasty(written(table().slice(0, 0)), "has no events"),
    "no row groups": Nasty(_without_groups, "has no events"),
}


def lay(lake: Path, nasty: Nasty) -> str:
    """Write it into a lake; its path below the lake's root."""
    folder = lake / FOLDER
    folder.mkdir(parents=True)
    nasty.write(folder)
    return f"{FOLDER}/{NAME}"
