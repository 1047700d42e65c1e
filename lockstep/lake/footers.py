"""Whether a Parquet file can be read as events of a contract, judged by its footer as Spark does.

The checks read the lake with pyarrow, scoring reads it with Spark, and they differ: in columns
whose names differ in case only, in a column that is there twice, in nanoseconds, in codecs, and
in the checksum files beside a file. What is taken here is read alike by both; what is not is
refused before any Spark job starts.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from lockstep.contracts import Contract
from lockstep.errors import ContractError, LakeError, Unreachable, printable
from lockstep.lake.thrift import read_struct

__all__ = ["LANDED", "open_parquet", "reading"]

LANDED = pa.schema(
    [
        pa.field("_available_at", pa.timestamp("us", tz="UTC")),
        pa.field("_kafka_partition", pa.int32()),
        pa.field("_kafka_offset", pa.int64()),
    ]
)
"""When the event became readable, and where it lies on Kafka. Absent or null: it never did."""

_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")
"""By the number that a footer has for each."""
_SPARKS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW"}
_LEFT = "nothing: no prediction was written"
_PASSING = re.compile(r"NETWORK|SLOW_DOWN|SERVICE_UNAVAILABLE|curlCode|timed? ?out", re.IGNORECASE)
"""What a remote store says of itself, not of the file."""
_CHUNK = 1 << 22


def open_parquet(system: fs.FileSystem, root: str, path: str, contract: Contract) -> pq.ParquetFile:
    """Open a file whose footer fits: the contract's columns, and those of LANDED that it has.

    Raises LakeError naming file, column and what to write instead; ContractError and Arrow's
    errors as `reading` takes them.
    """
    source = system.open_input_file(f"{root}/{path}")
    file = pq.ParquetFile(source)
    codecs = _codecs(source, file.metadata.num_columns)
    wanted = {field.name: (field.kind, field.required) for field in contract.fields}
    wanted |= {field.name: (str(field.type), False) for field in LANDED}
    types = {field.name: field.type for field in (*contract.arrow_schema, *LANDED)}
    for name, (kind, required) in wanted.items():
        _judge_column(file, codecs, path, contract, name, kind, required, types[name])
    _judge_checksums(system, root, path)
    return file


@contextmanager
def reading(system: fs.FileSystem, path: str, contract: Contract) -> Iterator[None]:
    """Turn what a file makes pyarrow raise into a LakeError that names it.

    Unreachable where a remote store does not answer.
    """
    try:
        yield
    except FileNotFoundError:
        raise LakeError(
            f"{path} vanished while it was read: a batch is being replaced",
            left=_LEFT,
            next="run again once the batch has been loaded",
        ) from None
    except (ContractError, pa.ArrowException, OSError, ValueError) as error:
        # A ValueError: names in a damaged footer are no UTF-8.
        text = printable(str(error), 500)
        # Arrow's own errors are OSErrors as well; only the system's have a number.
        if not isinstance(system, fs.LocalFileSystem) and _PASSING.search(text):
            raise Unreachable(
                f"the lake's store does not answer for {path}: {text}",
                left=_LEFT,
                next="try again later",
            ) from None
        raise LakeError(
            f"{path} cannot be read as {contract.name}: {text}",
            left=_LEFT,
            next=f"load the batch again with the types of the contract {contract.name}",
        ) from None


def _codecs(source: pa.NativeFile, columns: int) -> list[set[str]]:
    """What each column of the file is compressed with. Raises ValueError for a damaged footer.

    Read from the footer itself: pyarrow looks at a chunk of a column without a guard, and ends
    the process where its C++ does not like the chunk.
    """
    size = source.size()
    (length,) = struct.unpack("<I", source.read_at(8, size - 8)[:4])
    footer = read_struct(source.read_at(length, size - 8 - length))
    found: list[set[str]] = [set() for _ in range(columns)]
    try:
        for group in footer[4]:
            for codecs, chunk in zip(found, group[1], strict=True):
                codec = chunk[3][4]
                codecs.add(_CODECS[codec] if 0 <= codec < len(_CODECS) else f"codec {codec}")
    except (KeyError, TypeError):
        raise ValueError("the footer has a column without its facts") from None
    return found


def _judge_column(
    file: pq.ParquetFile,
    codecs: list[set[str]],
    path: str,
    contract: Contract,
    name: str,
    kind: str,
    required: bool,
    expected: pa.DataType,
) -> None:
    def refused(what: str, next_: str) -> LakeError:
        return LakeError(
            f"{path} cannot be read as {contract.name}: {printable(what, 500)}",
            left=_LEFT,
            next=f"load the batch again {next_}",
        )

    # Spark looks for columns without regard to case, and fails where it finds two.
    found = [given for given in file.schema_arrow.names if given.lower() == name.lower()]
    if len(found) > 1:
        raise refused(
            f"column {name!r} is there {len(found)} times ({', '.join(found)}; case does not"
            " tell columns apart)",
            f"with one column {name}",
        )
    if not found:
        if required:
            raise refused(f"column {name!r} is missing", f"with a column {name} ({expected})")
        return
    if found != [name]:
        raise refused(f"column {found[0]!r} should be {name!r}", f"with the column named {name}")
    leaves = [
        number
        for number in range(file.metadata.num_columns)
        if file.metadata.schema.column(number).path.partition(".")[0] == name
    ]
    given = file.schema_arrow.field(name).type
    if len(leaves) != 1 or not _fits(file.metadata.schema.column(leaves[0]), kind):
        raise refused(
            f"column {name!r} has type {given}, not {expected}",
            f"with {name} as {expected} (contract {contract.name})",
        )
    for codec in sorted(codecs[leaves[0]] - _SPARKS):
        raise refused(
            f"column {name!r} is compressed with {codec}, which Spark does not read",
            f"compressed with one of {', '.join(sorted(_SPARKS)).lower()}",
        )


def _fits(leaf: Any, kind: str) -> bool:
    """Whether pyarrow and Spark both read this column of the file as a field of that kind."""
    if leaf.max_repetition_level != 0 or leaf.max_definition_level > 1:
        return False
    stored, logical = leaf.physical_type, str(leaf.logical_type)
    plain = leaf.logical_type.type == "NONE"
    match kind:
        case "string":
            return bool(stored == "BYTE_ARRAY" and leaf.logical_type.type == "STRING")
        case "integer" | "int64" | "int32":
            signed = plain or (leaf.logical_type.type == "INT" and "isSigned=true" in logical)
            return signed and stored in (("INT32",) if kind == "int32" else ("INT32", "INT64"))
        case "number":
            return plain and stored in ("FLOAT", "DOUBLE")
        case _:
            return (
                stored == "INT64"
                and leaf.logical_type.type == "TIMESTAMP"
                and "isAdjustedToUTC=true" in logical
                and ("microseconds" in logical or "milliseconds" in logical)
            )


def _judge_checksums(system: fs.FileSystem, root: str, path: str) -> None:
    """Hadoop reads a file of this disk against the .NAME.crc beside it, where there is one."""
    if not isinstance(system, fs.LocalFileSystem):
        return
    folder, _, name = path.rpartition("/")
    beside = f"{folder}/.{name}.crc"
    if system.get_file_info(f"{root}/{beside}").type != fs.FileType.File:
        return
    with system.open_input_stream(f"{root}/{beside}") as stream:
        sums = stream.read()
    if sums[:4] == b"crc\0" and len(sums) >= 8:
        size = struct.unpack(">I", sums[4:8])[0]
        with system.open_input_stream(f"{root}/{path}", buffer_size=0) as data:
            if size and _sums_fit(data, size, memoryview(sums)[8:]):
                return
    raise LakeError(
        f"{path} is not what its checksum file {beside} was made of: one of them was changed or"
        " replaced alone, and Spark refuses the file",
        left=_LEFT,
        next=f"load the batch again; where the file is right, rm {root}/{beside}",
    )


def _sums_fit(data: Any, size: int, sums: memoryview) -> bool:
    """Whether each `size` bytes of `data` have the next four bytes of `sums` as their CRC-32."""
    place = 0
    while block := data.read(max(_CHUNK // size, 1) * size):
        view = memoryview(block)
        for start in range(0, len(view), size):
            found = zlib.crc32(view[start : start + size])
            if sums[place : place + 4] != found.to_bytes(4, "big"):
                return False
            place += 4
    return True
