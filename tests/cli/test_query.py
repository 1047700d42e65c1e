"""lockstep query, typed: all of what the warehouse says, as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.types.datetime import DateLoader

from lockstep.cli import query as module
from lockstep.cli import query_files
from lockstep.errors import LockstepError, Transient, Unreachable, UsageError
from lockstep.local.postgres.server import Postgres
from lockstep.settings import Settings
from tests.cli.test_output import strictly
from tests.house import use_case

__all__ = ["use_case"]

Ask = Callable[..., Result]


@pytest.fixture
def ask(warehouse_settings: Settings, use_case: str, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Types a query, with an analyst's login."""
    monkeypatch.setattr(Settings, "load", lambda: warehouse_settings)

    def typed(sql: str, *words: str) -> Result:
        result = CliRunner().invoke(module.query, [use_case, sql, *words])
        if result.exception is not None:
            raise result.exception
        return result

    return typed


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = strictly(result.stdout)["rows"]
    return found


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("'NaN'::real", "NaN"),
        (
            "array['NaN', 'Infinity', '-Infinity', 1.5]::real[]",
            ["NaN", "Infinity", "-Infinity", 1.5],
        ),
        ("array[null, 'NaN']::float8[]", [None, "NaN"]),
        ("array[array[1, null]]", [[1, None]]),
        ("'NaN'::numeric", "NaN"),
        ("12.50::numeric", 12.5),
        ("sum(x) from generate_series(1::bigint, 3) x", 6),
        ("date '2013-10-01'", "2013-10-01"),
        ("timestamptz '2013-10-01 03:00+00'", "2013-10-01T03:00:00+00:00"),
        ("'infinity'::timestamptz", "infinity"),
        ("'-infinity'::date", "-infinity"),
        ("date '0044-03-15 BC'", "0044-03-15 BC"),
        ("interval '2 days'", "2 days, 0:00:00"),
        (r"'\x00ff'::bytea", r"\x00ff"),
        ("'10.0.0.0/8'::inet", "10.0.0.0/8"),
        ("""'{"a": [1, null]}'::jsonb""", {"a": [1, None]}),
        ("int4range(1, 3)::text", "[1,3)"),
        ("null", None),
        ("true", True),
    ],
)
def test_every_value_is_valid_json(ask: Ask, sql: str, expected: Any) -> None:
    (found,) = rows(ask(f"select {sql}", "--json"))
    assert list(found.values()) == [expected]


def test_json_has_all_rows_and_a_table_says_how_many_it_leaves_out(ask: Ask) -> None:
    many = "select n from generate_series(1, 1234) n"
    assert [row["n"] for row in rows(ask(many, "--json"))] == list(range(1, 1235))
    table = ask(many)
    assert " 50 " in table.stdout
    assert " 51 " not in table.stdout
    assert "1,184 of 1,234 rows are left out; --all shows them" in table.stderr
    whole = ask(many, "--all")
    assert " 1234 " in whole.stdout
    assert not whole.stderr
    assert not ask("select n from generate_series(1, 50) n").stderr


def test_only_rows_that_are_shown_become_python_s(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []

    class Counted(DateLoader):
        def load(self, data: Any) -> Any:
            made.append(bytes(data))
            return super().load(data)

    monkeypatch.setitem(module._TIMES, "date", Counted)
    many = "select date '2013-01-01' + n as day from generate_series(1, 1234) n"
    assert "1,184 of 1,234 rows are left out" in ask(many).stderr
    assert len(made) == 50
    made.clear()
    assert len(rows(ask(many, "--json"))) == len(made) == 1234


def test_what_looks_like_markup_is_printed_as_it_is(ask: Ask) -> None:
    found = ask("select '[bold]a[/bold] [/]' as \"[red]name\", 'b[link=x]c' as other").stdout
    for text in ("[bold]a[/bold] [/]", "[red]name", "b[link=x]c"):
        assert text in found


def test_nothing_steers_the_terminal(ask: Ask) -> None:
    found = ask("select e'a\\x1b[2Jb\\rc\\u202ed' as x")
    assert "\x1b" not in found.stdout
    assert "\r" not in found.stdout
    assert r"a\x1b[2Jb\rc\u202ed" in found.stdout


def test_a_long_value_is_not_cut(ask: Ask) -> None:
    assert "x" * 700 in ask("select repeat('x', 700) as long, 1 as other").stdout


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select 1 as a, 2 as a", "several columns are named 'a'"),
        ("select 1, 2", "several columns are named '?column?'"),
        ("select 1; select 2", "several statements"),
        ("select * from nowhere", "the warehouse refused the query"),
        ("create table t (x int)", "the warehouse refused the query"),
    ],
)
def test_what_cannot_be_answered_whole_is_refused(ask: Ask, sql: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")) as refused:
        ask(sql, "--json")
    assert refused.value.next


MANY = "select {} from generate_series(1, 100000) n"
ROWS_LEFT = "the first 20,000 rows on the standard output, without the others"
"""They come ten thousand at a time."""


def ended(ask: Ask, sql: str, *words: str) -> LockstepError:
    with pytest.raises(LockstepError) as error:
        ask(sql, *words)
    return error.value


@pytest.fixture
def gone(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends a session that is asked for more than twenty thousand rows."""
    chunks = query_files._chunks

    def until_it_ends(cursor: Any) -> Iterator[Any]:
        for number, rows in enumerate(chunks(cursor), start=1):
            if number == 2:
                with psycopg.connect(postgres.url("lockstep_admin")) as admin:
                    pid = cursor.connection.info.backend_pid
                    admin.execute("select pg_terminate_backend(%s, 60000)", (pid,))
            yield rows

    monkeypatch.setattr(query_files, "_chunks", until_it_ends)


def test_a_warehouse_that_goes_away_is_no_wrong_usage(ask: Ask, tmp_path: Path, gone: None) -> None:
    """Nobody takes half of the standard output for the whole; a file is whole or not there."""
    file = tmp_path / "all.parquet"
    for words, left in ((("--csv",), ROWS_LEFT), (("--parquet", str(file)), "no such file")):
        error = ended(ask, MANY.format("n"), *words)
        assert (type(error), error.left) == (Unreachable, left)
        assert error.next == "lockstep status; then run the same command again"
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_is_wrong_in_the_middle_says_what_is_left_of_it(
    ask: Ask, tmp_path: Path
) -> None:
    file = tmp_path / "all.parquet"
    nothing = "nothing: an analyst can only read"
    lefts = {"--csv": ROWS_LEFT, f"--parquet={file}": "no such file"}
    for word, left in {**lefts, "--json": nothing, "--all": nothing}.items():
        error = ended(ask, MANY.format("n / (25000 - n)"), word)
        assert (type(error), error.left) == (UsageError, left)
    assert list(tmp_path.iterdir()) == []


def test_what_passes_by_itself_is_no_wrong_usage(ask: Ask) -> None:
    raised = "do $$ begin raise exception 'rolled back' using errcode = '{}'; end $$"
    with pytest.raises(Transient, match="could not go on: rolled back"):
        ask(raised.format("40001"))
    with pytest.raises(UsageError, match="the warehouse refused the query: rolled back"):
        ask(raised.format("42501"))
