"""lockstep query: ask the warehouse as an analyst would, on a machine without psql."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from typing import Any

import click
import psycopg
from psycopg.types.datetime import (
    DateLoader,
    IntervalLoader,
    TimestampLoader,
    TimestamptzLoader,
)
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lockstep.cli.output import emit, json_option, visible
from lockstep.errors import UsageError
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect

__all__ = ["query"]

_SHOWN = 50


@click.command()
@click.argument("use_case")
@click.argument("sql")
@click.option("--all", "everything", is_flag=True, help=f"Show more than {_SHOWN} rows.")
@json_option
def query(use_case: str, sql: str, everything: bool, as_json: bool) -> None:
    """Run one SQL query with an analyst's rights: the views of USE_CASE, read only.

    Shows the first 50 rows, and says how many there are; with --all or --json all of them.
    """
    whole = everything or as_json
    names, shown, found = _ask(use_case, sql, None if whole else _SHOWN)
    if as_json:
        _require_different(names)
        emit({"rows": [dict(zip(names, row, strict=True)) for row in shown]}, "", as_json)
        return
    _print(names, shown)
    if len(shown) < found:
        click.secho(
            f"{found - len(shown):,} of {found:,} rows are left out; --all shows them",
            fg="yellow",
            err=True,
        )


def _ask(use_case: str, sql: str, most: int | None) -> tuple[list[str], list[Any], int]:
    """Names of the columns, the first `most` rows or all, and how many rows there are."""
    with closing(connect(Settings.load(), "analyst", use_case)) as connection:
        for type, loader in _TIMES.items():
            connection.adapters.register_loader(type, loader)
        try:
            with connection.transaction():
                connection.execute("set transaction read only")
                cursor = connection.execute(sql.encode())
                names = [column.name for column in cursor.description or ()]
                rows: list[Any] = []
                if names:
                    rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
                found = cursor.rowcount
                more = cursor.nextset()
        except psycopg.Error as error:
            raise UsageError(
                f"the warehouse refused the query: {str(error).splitlines()[0]}",
                left="nothing: an analyst can only read",
                next=f"lockstep query {use_case} 'select * from predictions limit 5'",
            ) from None
    if more:
        raise UsageError(
            "these are several statements, and only the first one's rows would be shown",
            left="nothing: an analyst can only read",
            next="type one statement at a time",
        )
    return names, rows, found


def _or_text(loader: Any) -> type[Any]:
    """The same loader, with the text of what Python has no value for: infinity, years BC."""

    class OrText(loader):  # type: ignore[misc]
        def load(self, data: Any) -> Any:
            try:
                return super().load(data)
            except psycopg.DataError:
                return bytes(data).decode()

    return OrText


_TIMES = {
    "date": _or_text(DateLoader),
    "timestamp": _or_text(TimestampLoader),
    "timestamptz": _or_text(TimestamptzLoader),
    "interval": _or_text(IntervalLoader),
}


def _require_different(names: list[str]) -> None:
    """A document's members have names of their own: the second one would replace the first."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(
            f"several columns are named {twice[0]!r}: one document cannot hold them",
            next="name each column: select ... as NAME",
        )


def _print(names: list[str], rows: list[Any]) -> None:
    table = Table()
    for name in names:
        table.add_column(_text(name), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else _text(value) for value in row))
    # What is not read on a terminal is not broken at its width.
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    console.print(table)


def _text(value: Any) -> Text:
    """A value as it is: brackets in it are no markup."""
    return Text(visible(str(value)))
