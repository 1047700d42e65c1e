"""A lake's files as an entrance: each is read as the contract's events, or refused by its name."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from lockstep.errors import LakeError
from lockstep.lake import partition_files, read_partition, require_columns
from lockstep.lake.thrift import read_struct
from tests.fuzz.amount import AMOUNTS, fuzz
from tests.lake.nasty_files import CONTRACT, DAY, FOLDER, GOOD, NAME, checksums

_TYPES = st.sampled_from(
    [
        *(pa.int8(), pa.int32(), pa.uint8(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32()),
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.date32(), pa.null()),
        *(pa.timestamp("ns", "UTC"), pa.timestamp("ms"), pa.timestamp("s", "UTC"), pa.bool_()),
        *(pa.decimal128(20, 2), pa.list_(pa.float64()), pa.dictionary(pa.int8(), pa.string())),
        *(pa.struct({"x": pa.int64()}), pa.time64("us"), pa.duration("us")),
    ]
)
_NAMES = st.sampled_from([*GOOD, *map(str.upper, GOOD), "note", "a.b", "", "_available_at", "é"])
_FILES = st.fixed_dictionaries(
    {
        "columns": st.lists(
            st.tuples(_NAMES, st.one_of(st.none(), _TYPES), st.integers(0, 3)), max_size=3
        ),
        "drop": st.sets(st.sampled_from(list(GOOD)), max_size=1),
        "compression": st.sampled_from(["snappy", "brotli", "gzip", "zstd", "lz4", "none"]),
        "rows": st.sampled_from([0, 1, 5]),
        "version": st.sampled_from(["1.0", "2.4", "2.6"]),
        "damage": st.sampled_from(
            ["none"] * 3 + ["cut", "flip", "footer", "zero", "crc", "wrong crc"]
        ),
        "seed": st.integers(0, 2**32),
        "name": st.sampled_from([NAME] * 6 + ["x.PARQUET", "a b.parquet", "x.csv", "é.parquet"]),
    }
)


@AMOUNTS
def test_a_file_is_read_or_refused(amount: int, tmp_path: Path) -> None:
    taken = []

    def check(file: dict[str, Any]) -> None:
        shutil.rmtree(tmp_path / "orders", ignore_errors=True)
        (tmp_path / FOLDER).mkdir(parents=True)
        _write(tmp_path / FOLDER / file["name"], file)
        refused = None
        try:
            found = read_partition(str(tmp_path), CONTRACT, DAY)
        except LakeError as error:
            refused = error
        if refused is not None:
            assert f"orders/date={DAY}" in refused.message
            assert refused.next
            assert len(str(refused)) < 2500
            return
        require_columns(str(tmp_path), CONTRACT, partition_files(str(tmp_path), "orders", DAY))
        assert found.schema.types == [field.type for field in CONTRACT.arrow_schema]
        # Rows that do not fit the contract are left out by the reader, and counted elsewhere.
        assert found.num_rows <= file["rows"]
        if found.num_rows:
            taken.append(file)

    fuzz(amount, check, file=_FILES)
    assert taken, "some of them are good"


@AMOUNTS
def test_any_bytes_are_a_footer_or_refused(amount: int) -> None:
    taken = []

    def check(data: bytes) -> None:
        try:
            assert isinstance(read_struct(data), dict)
        except ValueError:
            return
        taken.append(data)

    # Bytes of which many begin a list or a struct in a field.
    heads = st.sampled_from([b"\x1c", b"\x19\x1c", b"\x19\xfc\xff", b"\x18", b"\0", b"\x15"])
    parts = st.lists(st.one_of(heads, st.binary(max_size=9)), max_size=200).map(b"".join)
    fuzz(amount, check, data=parts)
    assert taken, "some of them are structs"


def _write(path: Path, file: dict[str, Any]) -> None:
    columns = [(n, column.slice(0, file["rows"])) for n, column in GOOD.items()]
    columns = [(n, column) for n, column in columns if n not in file["drop"]]
    for name, kind, place in file["columns"]:
        made = GOOD["count"] if kind is None else _made(kind)
        columns.insert(place, (name, made.slice(0, file["rows"])))
    table = pa.Table.from_arrays([c for _, c in columns], names=[n for n, _ in columns])
    # The older versions of the format have no nanoseconds.
    nanos = any(getattr(kind, "unit", "") == "ns" for kind in table.schema.types)
    version = "2.6" if nanos else file["version"]
    pq.write_table(table, path, compression=file["compression"], version=version)
    content, chance = bytearray(path.read_bytes()), random.Random(file["seed"])
    match file["damage"]:
        case "cut":
            del content[chance.randrange(len(content)) :]
        case "flip" | "footer":
            length = int.from_bytes(content[-8:-4], "little")
            start = 0 if file["damage"] == "flip" else len(content) - 8 - length
            for _ in range(chance.randint(1, 8)):
                content[chance.randrange(start, len(content))] ^= 1 << chance.randrange(8)
        case "zero":
            start = chance.randrange(len(content))
            content[start : start + 64] = bytes(len(content[start : start + 64]))
    path.write_bytes(content)
    if file["damage"].endswith("crc"):
        sums = checksums(bytes(content))
        wrong = sums[:-1] + bytes([sums[-1] ^ 1])
        path.with_name(f".{path.name}.crc").write_bytes(
            wrong if "wrong" in file["damage"] else sums
        )


def _made(kind: pa.DataType) -> pa.Array:
    """Five values of a type; nulls where it has none of these numbers."""
    try:
        return GOOD["count"].cast(kind)
    except pa.ArrowException:
        return pa.nulls(5, kind)
