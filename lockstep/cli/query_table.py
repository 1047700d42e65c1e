"""Rows for people: a table, or each row by itself where a table is wider than the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lockstep.cli.output import visible

__all__ = ["print_rows"]

_ANY_WIDTH = 1_000_000


def print_rows(names: Sequence[str], rows: Sequence[Sequence[Any]], *, vertical: bool) -> None:
    """Print rows as a table; each by itself if `vertical`, or if the terminal is too narrow.

    What is not read on a terminal is not broken at its width.
    """
    table = _table(names, rows)
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else _ANY_WIDTH
    # Of a terminal that it knows nothing about, rich believes a width only with a height.
    console = Console(width=_ANY_WIDTH, height=1)
    if vertical or console.measure(table).maximum > terminal:
        click.echo(_upright(names, rows))
    else:
        console.print(table)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table()
    for name in names:
        table.add_column(Text(visible(name)), overflow="fold")
    for row in rows:
        # A value as it is: brackets in it are no markup.
        table.add_row(*(Text(_shown(value)) for value in row))
    return table


def _upright(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """One line for each value, as psql's expanded mode has it; lines of a value stay lines."""
    heads = [visible(name).replace("\n", " ") for name in names]
    if not rows:
        return f"no rows; columns: {', '.join(heads)}"
    width = max(map(len, heads), default=0)
    lines = []
    for number, row in enumerate(rows, 1):
        lines.append(f"-[ ROW {number} ]".ljust(width + 1, "-") + "+" + "-" * 20)
        for head, value in zip(heads, row, strict=True):
            first, *rest = _shown(value).split("\n")
            lines.append(f"{head:<{width}} | {first}".rstrip())
            lines += [f"{'':<{width}} | {line}".rstrip() for line in rest]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return "" if value is None else visible(str(value))
