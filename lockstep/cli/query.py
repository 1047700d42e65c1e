"""lockstep query: ask the warehouse as an analyst would, on a machine without psql."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import errors as pg
from psycopg.types.datetime import (
    DateLoader,
    IntervalLoader,
    TimestampLoader,
    TimestamptzLoader,
)

from lockstep.cli.output import emit, json_option, visible
from lockstep.cli.query_files import NO_FILE, csv_lines, require_different, write_parquet
from lockstep.cli.query_table import print_rows
from lockstep.errors import Transient, UsageError
from lockstep.settings import Settings
from lockstep.trouble import Trouble
from lockstep.warehouse.connect import answering, connect
from lockstep.warehouse.trouble import postgres_trouble

__all__ = ["query"]

_SHOWN = 50
_NOTHING = "nothing: an analyst can only read"


@click.command()
@click.argument("use_case")
@click.argument("sql")
@click.option("--all", "everything", is_flag=True, help=f"Show more than {_SHOWN} rows.")
@click.option("--vertical", is_flag=True, help="Show each row by itself, one value a line.")
@click.option("--csv", is_flag=True, help="Print all rows as CSV; NULL is empty.")
@click.option(
    "--parquet",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all rows, with their types, to a new Parquet file.",
)
@json_option
def query(
    use_case: str,
    sql: str,
    everything: bool,
    vertical: bool,
    csv: bool,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Run one SQL query with an analyst's rights: the views of USE_CASE, read only.

    Shows the first 50 rows, and says how many there are; with --all all of them. Where the table
    is wider than the terminal, each row is shown by itself. --json, --csv and --parquet give all
    rows; in Parquet a numeric without declared digits is a double.
    """
    forms = {"--vertical": vertical, "--csv": csv, "--parquet": parquet, "--json": as_json}
    if len(given := [form for form, wanted in forms.items() if wanted]) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other", next="choose one of them")
    if csv:
        _print_csv(use_case, sql)
    elif parquet is not None:
        with _asking(use_case, lambda: NO_FILE) as connection:
            count = write_parquet(connection, sql, parquet)
        click.echo(visible(f"{count:,} rows in {parquet}"))
    elif as_json:
        names, shown, _ = _ask(use_case, sql, None)
        require_different(names)
        emit({"rows": [dict(zip(names, row, strict=True)) for row in shown]}, "", as_json)
    else:
        names, shown, found = _ask(use_case, sql, None if everything else _SHOWN)
        print_rows(names, shown, vertical=vertical)
        if len(shown) < found:
            click.secho(
                f"{found - len(shown):,} of {found:,} rows are left out; --all shows them",
                fg="yellow",
                err=True,
            )


def _print_csv(use_case: str, sql: str) -> None:
    out, lines = click.get_binary_stream("stdout"), 0

    def left() -> str:
        if not lines:
            return _NOTHING
        return f"the first {lines - 1:,} rows on the standard output, without the others"

    with _asking(use_case, left) as connection:
        for some in csv_lines(connection, sql):
            out.write(b"".join(some))
            lines += len(some)


@contextmanager
def _asking(
    use_case: str, left: Callable[[], str] = lambda: _NOTHING
) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that only reads. `left`: what an error leaves of the answer.

    Raises Unreachable or Transient for what passes, and UsageError for what the warehouse refuses.
    """
    with closing(connect(Settings.load(), "analyst", use_case)) as connection:
        for type, loader in _TIMES.items():
            connection.adapters.register_loader(type, loader)
        try:
            with (
                answering(connection, use_case),
                _refusals(use_case, left),
                connection.transaction(),
            ):
                connection.execute("set transaction read only")
                yield connection
        except Transient as error:
            error.left = left()
            raise


@contextmanager
def _refusals(use_case: str, left: Callable[[], str]) -> Iterator[None]:
    """What stays is the query's: a table that there is not is a misspelt one."""
    try:
        yield
    except psycopg.Error as error:
        # A server may be read only for a while, but here it is we who asked for that.
        ours = isinstance(error, pg.ReadOnlySqlTransaction)
        if not ours and postgres_trouble(error) is Trouble.PASSING:
            raise
        raise UsageError(
            f"the warehouse refused the query: {str(error).splitlines()[0]}",
            left=left(),
            next=f"lockstep query {use_case} 'select * from predictions limit 5'",
        ) from None


def _ask(use_case: str, sql: str, most: int | None) -> tuple[list[str], list[Any], int]:
    """Names of the columns, the first `most` rows or all, and how many rows there are."""
    with _asking(use_case) as connection:
        cursor = connection.execute(sql.encode())
        names = [column.name for column in cursor.description or ()]
        rows: list[Any] = []
        if names:
            rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
        found = cursor.rowcount
        if cursor.nextset():
            raise UsageError(
                "these are several statements, and only the first one's rows would be shown",
                left=_NOTHING,
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
