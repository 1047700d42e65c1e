"""lockstep query for a narrow terminal, for spreadsheets and for what reads Parquet."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockstep.cli import query_files
from lockstep.errors import UsageError
from lockstep.settings import Settings
from tests.cli.test_query import Ask, ask
from tests.house import use_case
from tests.small_model import REPOSITORY

__all__ = ["ask", "use_case"]

WIDE = "select repeat('x', 60) as long, repeat('y', 60) as other, null as nothing"
NASTY = ["", "a,b", 'say "no"', "two\nlines", "\r", " space ", "é 東京", "''", "\\N", "null", '""']


def on_a_terminal(columns: int, settings: Settings, *words: str) -> str:
    """What a command shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(
        [sys.executable, "-m", "lockstep.cli", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**environment, "TERM": "dumb", "LOCKSTEP_ANALYST_URL": settings.url("analyst")},
    )
    os.close(theirs)
    shown = b""
    try:
        while some := os.read(ours, 65536):
            shown += some
    except OSError:  # Linux says so when the other side is closed.
        pass
    os.close(ours)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return shown.decode().replace("\r\n", "\n")


def test_a_table_that_is_wider_than_the_terminal_is_shown_row_by_row(
    warehouse_settings: Settings, use_case: str
) -> None:
    narrow = on_a_terminal(80, warehouse_settings, "query", use_case, WIDE)
    assert narrow.splitlines()[1:] == [
        f"long    | {'x' * 60}",
        f"other   | {'y' * 60}",
        "nothing |",
    ]
    assert narrow.startswith("-[ ROW 1 ]")
    wide = on_a_terminal(200, warehouse_settings, "query", use_case, WIDE)
    assert f"│ {'x' * 60} │ {'y' * 60} │" in wide
    assert "ROW 1" not in wide
    assert all(len(line) <= 200 for line in wide.splitlines())


def test_vertical_is_one_value_a_line(ask: Ask) -> None:
    shown = ask(
        "select * from (values (1, e'one\\ntwo'), (2, null)) t (n, \"a text\")", "--vertical"
    ).stdout
    head = "+" + "-" * 20
    assert shown.splitlines() == [
        f"-[ ROW 1 ]{head}",
        "n      | 1",
        "a text | one",
        "       | two",
        f"-[ ROW 2 ]{head}",
        "n      | 2",
        "a text |",
    ]
    assert ask("select 1 as a, 2 as b limit 0", "--vertical").stdout == "no rows; columns: a, b\n"
    steering = ask("select e'a\\x1b[2Jb' as \"x\u202e\"", "--vertical").stdout
    assert r"x\u202e | a\x1b[2Jb" in steering
    left_out = ask("select n from generate_series(1, 60) n", "--vertical")
    assert "ROW 50 " in left_out.stdout
    assert "ROW 51 " not in left_out.stdout
    assert "10 of 60 rows are left out" in left_out.stderr


def listed(texts: list[str]) -> str:
    """Rows of numbered texts, as SQL."""
    quoted = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    return f"unnest(array[{quoted}]::text[]) with ordinality t (text, n) order by n"


def test_csv_is_what_the_rfc_says(ask: Ask) -> None:
    sql = (
        'select * from (values (1, \'a,b\', null), (2, \'\', e\'x"y\\nz\')) t (n, "a ""text""", o)'
    )
    assert ask(sql, "--csv").stdout_bytes == (b'n,"a ""text""",o\r\n1,"a,b",\r\n2,"","x""y\nz"\r\n')
    found = ask(f"select n, text, 'end' as last from {listed(NASTY)}", "--csv").stdout_bytes
    rows = list(csv.reader(io.StringIO(found.decode(), newline=""), strict=True))
    assert rows == [["n", "text", "last"], *([str(n + 1), t, "end"] for n, t in enumerate(NASTY))]
    assert ask("select 1 as n limit 0", "--csv").stdout_bytes == b"n\r\n"
    assert ask("values (null), ('a')", "--csv").stdout_bytes == b'column1\r\n""\r\na\r\n'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("true", "true"),
        ("0.1::real", "0.1"),
        ("'NaN'::float8", "NaN"),
        ("12.50::numeric", "12.50"),
        ("timestamptz '2013-10-01 03:00+00'", "2013-10-01 03:00:00+00"),
        ("'infinity'::date", "infinity"),
        ("interval '1 month'", "1 mon"),
        ("array[0.5, null]::real[]", '"{0.5,NULL}"'),
        ("""'{"a": 1}'::jsonb""", '"{""a"": 1}"'),
        ("'null'::jsonb", "null"),
        (r"'\x00ff'::bytea", r"\x00ff"),
    ],
)
def test_csv_has_values_as_the_warehouse_writes_them(ask: Ask, sql: str, expected: str) -> None:
    assert ask(f"select {sql} as x", "--csv").stdout_bytes == f"x\r\n{expected}\r\n".encode()


def test_files_have_all_rows_and_hold_few_at_once(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    file = tmp_path / "many.parquet"
    chunks = query_files._chunks

    def counted(cursor: Any) -> Any:
        for rows in chunks(cursor):
            assert not file.exists(), "whoever finds it finds all rows"
            held.append(len(rows))
            yield rows

    monkeypatch.setattr(query_files, "_chunks", counted)
    monkeypatch.setattr(query_files, "_ROWS", 100)
    many = "select n from generate_series(1, 1234) n"
    assert ask(many, "--csv").stdout.split() == ["n", *map(str, range(1, 1235))]
    assert ask(many, "--parquet", str(file)).stdout == f"1,234 rows in {file}\n"
    assert list(tmp_path.iterdir()) == [file]
    read = pq.read_table(file)
    assert read.column("n").to_pylist() == list(range(1, 1235))
    assert held == 2 * [*[100] * 12, 34]


TYPED = {
    "true": (pa.bool_(), True),
    "1::smallint": (pa.int16(), 1),
    "1::integer": (pa.int32(), 1),
    "1::bigint": (pa.int64(), 1),
    "0.5::real": (pa.float32(), 0.5),
    "'-Infinity'::real": (pa.float32(), -np.inf),
    "0.1::float8": (pa.float64(), 0.1),
    "12.50::numeric(10, 2)": (pa.decimal128(10, 2), Decimal("12.50")),
    "12.5::numeric": (pa.float64(), 12.5),
    "sum(x) from generate_series(1::bigint, 3) x": (pa.float64(), 6.0),
    "date '2013-10-01'": (pa.date32(), date(2013, 10, 1)),
    "time '03:04'": (pa.time64("us"), time(3, 4)),
    "timestamp '2013-10-01 03:00'": (pa.timestamp("us"), datetime(2013, 10, 1, 3)),
    "timestamptz '2013-10-01 03:00+01'": (
        pa.timestamp("us", "UTC"),
        datetime(2013, 10, 1, 2, tzinfo=UTC),
    ),
    r"'\x00ff'::bytea": (pa.binary(), b"\x00\xff"),
    "'é'::varchar": (pa.string(), "é"),
    "array[0.5, null, 'NaN']::real[]": (pa.list_(pa.float32()), None),
    "array['a', null]": (pa.list_(pa.string()), ["a", None]),
    "array[1, 2]::bigint[]": (pa.list_(pa.int64()), [1, 2]),
    """'{"a": [1]}'::jsonb""": (pa.string(), '{"a": [1]}'),
    "interval '1 month'": (pa.string(), "1 mon"),
    "'10.0.0.0/8'::inet": (pa.string(), "10.0.0.0/8"),
    "null": (pa.string(), None),
    "null::real[]": (pa.list_(pa.float32()), None),
}


@pytest.mark.parametrize("sql", TYPED)
def test_parquet_keeps_types(ask: Ask, tmp_path: Path, sql: str) -> None:
    type_, value = TYPED[sql]
    ask(f"select {sql.replace(' from', ' as x from') if ' from' in sql else f'{sql} as x'}",
        "--parquet", str(tmp_path / "x.parquet"))  # fmt: skip
    column = pq.read_table(tmp_path / "x.parquet").column("x")
    assert column.type.equals(type_)
    if "NaN" in sql:
        half, nothing, nan = column.to_pylist()[0]
        assert (half, nothing) == (0.5, None)
        assert np.isnan(nan)
    else:
        assert column.to_pylist() == [value]


def test_parquet_has_a_real_in_the_same_bits(ask: Ask, tmp_path: Path) -> None:
    bits = np.random.default_rng(7).integers(0, 2**32, 3000, np.uint32).view(np.float32)
    numbers = bits[np.isfinite(bits)]
    array = ", ".join(f"'{number!s}'" for number in numbers)
    ask(f"select unnest(array[{array}]::real[]) as x", "--parquet", str(tmp_path / "x.parquet"))
    found = pq.read_table(tmp_path / "x.parquet").column("x").to_numpy()
    assert (found.view(np.uint32) == numbers.view(np.uint32)).all()


def test_parquet_of_no_rows_has_the_columns(ask: Ask, tmp_path: Path) -> None:
    ask("select * from predictions", "--parquet", str(tmp_path / "none.parquet"))
    empty = pq.read_table(tmp_path / "none.parquet")
    assert len(empty) == 0
    assert empty.schema.field("window_values").type.equals(pa.list_(pa.float32()))
    assert empty.schema.field("available_at").type.equals(pa.timestamp("us", "UTC"))


def test_parquet_replaces_no_file(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(UsageError, match="exists already") as refused:
        ask("select 1 as x", "--parquet", str(tmp_path / "there"))
    assert refused.value.next
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select 1 as a, 2 as a", "several columns are named 'a'"),
        ("select 1; select 2", "the warehouse refused the query"),
        ("select * from nowhere", "the warehouse refused the query"),
        ("select 1 / (500 - n) as x from generate_series(1, 1000) n", "division by zero"),
        ("select 'infinity'::date as x", "take it as text: select x::text"),
        ("select 'NaN'::numeric(5, 2) as x", "take it as text: select x::text"),
        ("select array[array[1.5::real]] as x", "take it as text: select x::text"),
        ("create table t (x int)", "the warehouse refused the query"),
    ],
)
def test_what_parquet_cannot_hold_whole_leaves_no_file(
    ask: Ask, tmp_path: Path, sql: str, said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        ask(sql, "--parquet", str(tmp_path / "x.parquet"))
    assert said in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file") as refused:
        ask("select 1 as x", "--parquet", str(tmp_path / "none" / "x.parquet"))
    assert refused.value.next


@pytest.mark.parametrize("sql", ["select 1; select 2", "select * from nowhere"])
def test_a_query_that_is_refused_prints_no_csv(
    ask: Ask, sql: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with pytest.raises(UsageError, match="the warehouse refused the query"):
        ask(sql, "--csv")
    assert capfdbinary.readouterr().out == b""


def test_one_form_at_a_time(ask: Ask) -> None:
    with pytest.raises(UsageError, match="--csv and --json exclude each other"):
        ask("select 1", "--csv", "--json")
