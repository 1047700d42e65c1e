"""What commands print: a text for people or one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

__all__ = ["emit", "json_option"]

json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)


def emit(data: dict[str, Any], text: str, as_json: bool) -> None:
    """Print the result of a command: `data` with --json, `text` without."""
    click.echo(json.dumps(data, default=str) if as_json else text)
