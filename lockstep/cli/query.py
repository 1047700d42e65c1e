"""lockstep query: ask the warehouse as an analyst would, on a machine without psql."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from lockstep.cli.output import emit, json_option
from lockstep.errors import UsageError
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect

__all__ = ["query"]

_SHOWN = 50


@click.command()
@click.argument("use_case")
@click.argument("sql")
@json_option
def query(use_case: str, sql: str, as_json: bool) -> None:
    """Run one SQL query with an analyst's rights: the views of USE_CASE, read only.

    Shows the first 50 rows.
    """
    with closing(connect(Settings.load(), "analyst", use_case)) as connection:
        try:
            with connection.transaction():
                connection.execute("set transaction read only")
                cursor = connection.execute(sql.encode())
                names = [column.name for column in cursor.description or ()]
                rows = cursor.fetchmany(_SHOWN + 1) if names else []
        except psycopg.Error as error:
            raise UsageError(
                f"the warehouse refused the query: {str(error).splitlines()[0]}",
                left="nothing: an analyst can only read",
                next=f"lockstep query {use_case} 'select * from predictions limit 5'",
            ) from None
    shown = rows[:_SHOWN]
    if as_json:
        emit({"rows": [dict(zip(names, row, strict=True)) for row in shown]}, "", as_json)
        return
    _print(names, shown, more=len(rows) > _SHOWN)


def _print(names: list[str], rows: list[Any], *, more: bool) -> None:
    table = Table(*names)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console = Console()
    console.print(table)
    if more:
        console.print(f"the first {_SHOWN} rows; say limit or count(*) for less")
