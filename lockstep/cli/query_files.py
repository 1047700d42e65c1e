"""The rows of a query for programs: CSV, and Parquet with the warehouse's types.

Both are written as the rows come. CSV has each value as the warehouse writes it as text.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import psycopg
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

from lockstep.cli.output import visible
from lockstep.errors import UsageError, reason_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NO_FILE", "csv_lines", "require_different", "write_parquet"]

NO_FILE = "no such file"
"""What is left of one that was not to be finished."""
_ROWS = 10_000
"""How many are held at once, and what a row group of Parquet has."""
_DIGITS = 38
"""Of the longest decimal that Parquet's readers know."""
_READ_BY_ARROW = ("float4", "float8", "numeric")


def csv_lines(connection: psycopg.Connection[Any], sql: str) -> Iterator[list[bytes]]:
    """The rows as RFC 4180 has it, in UTF-8: the line of their names, then theirs, some at a time.

    NULL is empty, and an empty text is "". A row of one NULL is "" as well: an empty line is no
    row to most readers.
    """
    for known in connection.adapters.types:
        for oid in filter(None, (known.oid, known.array_oid)):
            connection.adapters.register_loader(oid, TextLoader)
    connection.adapters.register_loader("bool", _BoolLoader)
    # Nothing steers a terminal; a file or a program gets every byte.
    as_it_is: Callable[[str], str] = visible if sys.stdout.isatty() else str
    with _answer(connection, sql) as cursor:
        yield [_line([column.name for column in cursor.description or ()], as_it_is)]
        for rows in _chunks(cursor):
            yield [_line(row, as_it_is) for row in rows]


def write_parquet(connection: psycopg.Connection[Any], sql: str, path: Path) -> int:
    """The rows as one Parquet file; how many they are.

    Numbers, times, bytes and lists of them keep their types; a numeric without declared digits
    becomes a double, and what Parquet has no type for its text. Raises UsageError for a file that
    is there or cannot be written, and for a value that its column's type does not hold.
    """
    if path.exists():
        raise _exists(path)
    # Under another name until it is whole: whatever ends us, FILE is all rows or not there.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with unfinished.open("xb") as file:
                count = _write(connection, sql, file)
            os.link(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            left=NO_FILE,
            next="name a file in a folder that you may write and that has room",
        ) from None
    return count


def _write(connection: psycopg.Connection[Any], sql: str, file: BinaryIO) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    scalars = _scalars()
    _load_exactly(connection, scalars)
    with _answer(connection, sql) as cursor:
        schema = _schema(cursor, scalars)
        require_different(schema.names)
        with pq.ParquetWriter(file, schema) as writer:
            for rows in _chunks(cursor):
                columns = zip(schema, zip(*rows, strict=True), strict=True)
                arrays = [_array(field, values) for field, values in columns]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                count += len(rows)
    return count


def require_different(names: Sequence[str]) -> None:
    """Where columns go by their names, the second of one name would replace the first."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(
            f"several columns are named {twice[0]!r}: one document cannot hold them",
            next="name each column: select ... as NAME",
        )


class _BoolLoader(Loader):
    """As a boolean's text is, and not as psql abbreviates it."""

    def load(self, data: Any) -> str:
        return "true" if bytes(data) == b"t" else "false"


def _answer(connection: psycopg.Connection[Any], sql: str) -> psycopg.ServerCursor[Any]:
    """A cursor in the server, executed: rows come when they are asked for."""
    # All rows will be read: no plan that is quick with the first ones only.
    connection.execute("set local cursor_tuple_fraction = 1")
    return connection.cursor(name="answer").execute(sql.encode())


def _chunks(cursor: psycopg.ServerCursor[Any]) -> Iterator[list[Sequence[Any]]]:
    while rows := cursor.fetchmany(_ROWS):
        yield rows


def _line(values: Sequence[str | None], as_it_is: Callable[[str], str]) -> bytes:
    fields = ["" if value is None else _field(as_it_is(value)) for value in values]
    return f"{','.join(fields) if fields != [''] else _field('')}\r\n".encode()


def _field(text: str) -> str:
    if text and not any(character in text for character in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _scalars() -> dict[str, pa.DataType]:
    """Postgres' types that Arrow has too."""
    import pyarrow as pa

    return {
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "numeric": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
        "bytea": pa.binary(),
    }


def _load_exactly(connection: psycopg.Connection[Any], scalars: Mapping[str, pa.DataType]) -> None:
    """Leave to Arrow what it reads better, and keep as text what it has no type for.

    A real that became Python's double first would be rounded twice.
    """
    for known in connection.adapters.types:
        if known.name not in scalars or known.name in _READ_BY_ARROW:
            connection.adapters.register_loader(known.oid, TextLoader)


def _schema(cursor: psycopg.ServerCursor[Any], scalars: Mapping[str, pa.DataType]) -> pa.Schema:
    import pyarrow as pa

    fields = []
    for column in cursor.description or ():
        known = cursor.adapters.types.get(column.type_code)
        scalar = scalars.get(known.name, pa.string()) if known else pa.string()
        if known and known.name == "numeric" and (column.precision or _DIGITS + 1) <= _DIGITS:
            scalar = pa.decimal128(column.precision, column.scale or 0)
        is_list = known is not None and column.type_code == known.array_oid
        fields.append((column.name, pa.list_(scalar) if is_list else scalar))
    return pa.schema(fields)


def _array(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    """Values of one column; UsageError for one that its type does not hold, such as infinity."""
    import pyarrow as pa

    is_list = pa.types.is_list(field.type)
    scalar = field.type.value_type if is_list else field.type
    try:
        if pa.types.is_floating(scalar) or pa.types.is_decimal(scalar):
            text = pa.list_(pa.string()) if is_list else pa.string()
            return pa.array(values, text).cast(field.type)
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise UsageError(
            f"the column {field.name} has a value that Parquet's {field.type} does not hold:"
            f" {reason_of(error)}",
            left=NO_FILE,
            next=f"take it as text: select {field.name}::text",
        ) from None


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists already", left="the file as it was", next="name another file")
