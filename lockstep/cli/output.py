"""What commands print: a text for people or one JSON document for programs.

The document is JSON as RFC 8259 has it, whatever a command found. Numbers that JSON lacks are
the strings "NaN", "Infinity" and "-Infinity", as Postgres and Protobuf write them; decimals keep
all of their digits; times are ISO 8601; bytes are hexadecimal after a \\x. What is none of JSON's
types is its text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any

import click

from lockstep.errors import LockstepError, printable

__all__ = ["as_json_text", "emit", "json_option", "tell_refused", "visible"]

json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)


def emit(data: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print the result of a command: `data` with --json, `text` without."""
    click.echo(as_json_text(data) if as_json else visible(text))


def as_json_text(value: Any) -> str:
    """A value as JSON, in one line of ASCII."""
    match value:
        case None | bool() | str():
            return json.dumps(value)
        case int():
            return str(int(value))
        case float():
            return json.dumps(float(value) if math.isfinite(value) else _named(value))
        case Decimal():
            return str(value) if value.is_finite() else json.dumps(_named(value))
        case bytes() | bytearray() | memoryview():
            return json.dumps(f"\\x{bytes(value).hex()}")
        case date() | time():
            return json.dumps(value.isoformat())
        case list() | tuple() | set() | frozenset():
            return f"[{', '.join(map(as_json_text, value))}]"
        case Mapping():
            members = (f"{json.dumps(str(k))}: {as_json_text(v)}" for k, v in value.items())
            return f"{{{', '.join(members)}}}"
    if is_dataclass(value) and not isinstance(value, type):
        return as_json_text({field.name: getattr(value, field.name) for field in fields(value)})
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return as_json_text(value.tolist())
    return json.dumps(str(value))


def visible(text: str) -> str:
    """Text in which nothing steers a terminal. Lines stay lines."""
    return printable(text, lines=True)


def tell_refused(refused: Mapping[str, LockstepError]) -> dict[str, str]:
    """Tell of use cases that are left out, on stderr; the same for --json."""
    for name, error in refused.items():
        text = visible(f"the use case {name} is left out: {error}")
        click.secho(text, fg="red", err=True)
    return {name: str(error) for name, error in refused.items()}


def _named(number: float | Decimal) -> str:
    """What is not finite."""
    nan = number.is_nan() if isinstance(number, Decimal) else math.isnan(number)
    return "NaN" if nan else "Infinity" if number > 0 else "-Infinity"
