"""What the commands over one day have in common: which day, and by what name a run is known."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import click

from lockstep.errors import UsageError

__all__ = ["new_run_id", "partition_option"]


def _day(context: click.Context, parameter: click.Parameter, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(
            f"--partition {value!r} is no day", next="write it like --partition 2013-10-01"
        ) from None


partition_option: Callable[..., Any] = click.option(
    "--partition", "day", required=True, callback=_day, metavar="DAY", help="A UTC day, 2013-10-01."
)


def new_run_id() -> str:
    """By what name the traces of one command are found again."""
    return f"cli__{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}_{secrets.token_hex(3)}"
