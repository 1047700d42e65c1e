"""What a Parquet file must be is judged by its footer, before Spark sees it, and named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.errors import LakeError
from lockstep.lake import days, partition_files, read_partition, require_columns
from tests.lake.nasty_files import CONTRACT, DAY, FILES, FOLDER, NAME, checksums, lay, table


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_taken_or_refused_by_name(tmp_path: Path, name: str) -> None:
    nasty = FILES[name]
    path = lay(tmp_path, nasty)
    if nasty.said is None:
        require_columns(str(tmp_path), CONTRACT, [path])
        found = read_partition(str(tmp_path), CONTRACT, DAY)
        expected = table() if name != "no price" else table(price=pa.nulls(5, pa.float64()))
        assert found.cast(expected.schema).equals(expected)
        return
    with pytest.raises(LakeError) as refused:
        read_partition(str(tmp_path), CONTRACT, DAY)
    assert nasty.said in str(refused.value)
    assert f"orders/date={DAY}" in str(refused.value)
    assert refused.value.next
    if nasty.spark_fails and name != "a damaged page":
        # By the footer alone, which is all that is looked at of what windows see.
        with pytest.raises(LakeError):
            require_columns(str(tmp_path), CONTRACT, [path])


def test_checksums_of_many_blocks_are_compared_to_the_last(tmp_path: Path) -> None:
    path = tmp_path / lay(tmp_path, FILES["good"])
    large = pa.concat_tables([table()] * 200_000)
    pq.write_table(large, path, compression="none", use_dictionary=False)
    sums = path.with_name(f".{NAME}.crc")
    sums.write_bytes(checksums(path.read_bytes()))
    assert path.stat().st_size > 2**23
    require_columns(str(tmp_path), CONTRACT, [f"{FOLDER}/{NAME}"])
    sums.write_bytes(sums.read_bytes()[:-1] + b"\0")
    with pytest.raises(LakeError, match="its checksum file"):
        require_columns(str(tmp_path), CONTRACT, [f"{FOLDER}/{NAME}"])


@pytest.mark.parametrize(
    "folder", ["date=2013-13-40", "date=2013-1-5", "date=20130105", "date=2013-W01-6", "Date=x"]
)
def test_a_folder_that_is_no_day_is_named(tmp_path: Path, folder: str) -> None:
    lay(tmp_path, FILES["good"])
    assert days(str(tmp_path), "orders") == [DAY]
    (tmp_path / "orders" / folder).mkdir()
    with pytest.raises(LakeError, match=f"orders/{folder} is no day") as refused:
        days(str(tmp_path), "orders")
    assert "date=YYYY-MM-DD" in str(refused.value)
    # Days that are named by hand do not care.
    assert len(partition_files(str(tmp_path), "orders", DAY)) == 1
    with pytest.raises(LakeError, match=f"also {folder}"):
        partition_files(str(tmp_path), "orders", date(2013, 10, 2))
