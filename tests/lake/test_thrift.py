"""Thrift's compact protocol is read as pyarrow writes it, and damaged bytes end in a ValueError."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.lake.thrift import read_struct


def test_a_footer_says_what_pyarrow_says_of_it() -> None:
    # More than 14 columns: the length of a longer list is written apart.
    columns = {f"column {number}": pa.array([number] * 9) for number in range(20)}
    codecs = dict(zip(columns, ["snappy", "zstd", "none", "gzip"] * 5, strict=True))
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, row_group_size=2, compression=codecs)
    content, facts = stream.getvalue(), pq.ParquetFile(stream).metadata
    length = int.from_bytes(content[-8:-4], "little")
    footer = read_struct(content[-8 - length : -8])
    assert footer[3] == facts.num_rows == 9
    assert footer[6].decode() == facts.created_by
    assert len(footer[4]) == facts.num_row_groups == 5
    numbers = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "ZSTD": 6}
    for number, group in enumerate(footer[4]):
        for place, chunk in enumerate(group[1]):
            told = facts.row_group(number).column(place)
            assert chunk[3][3] == [told.path_in_schema.encode()]
            assert chunk[3][4] == numbers[told.compression]
            assert chunk[3][5] == told.num_values


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ends within"),
        (b"\x18\x05abc", "ends within"),
        (b"\x18" + b"\xff" * 9 + b"\x01", "."),  # a text longer than memory can be
        (b"\x15" + b"\xff" * 11, "more than 10 bytes"),
        (b"\x19\xfc\xff\xff\xff\x07", "ends within"),  # a list of a billion structs
        (b"\x1c" * 100, "too deep"),
        (b"\x1b\x00", "unknown type 11"),
    ],
)
def test_bytes_that_are_no_struct_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_struct(data)
