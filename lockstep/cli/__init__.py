"""The `lockstep` command. Each command's module is imported only when it is typed."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import click

from lockstep.cli.output import as_json_text, visible
from lockstep.errors import LockstepError
from lockstep.exits import exit_code, interrupted

__all__ = ["main"]

_COMMANDS = {
    "up": "lockstep.cli.stack:up",
    "down": "lockstep.cli.stack:down",
    "status": "lockstep.cli.stack:status",
    "data": "lockstep.cli.models:data",
    "train": "lockstep.cli.models:train",
    "models": "lockstep.cli.models:models",
    "inspect": "lockstep.cli.models:inspect",
    "verify": "lockstep.cli.models:verify",
    "migrate": "lockstep.cli.release:migrate",
    "approve": "lockstep.cli.release:approve",
    "land": "lockstep.cli.landing:land_events",
    "score": "lockstep.cli.batch:score",
    "compare": "lockstep.cli.batch:compare",
    "audit": "lockstep.cli.audit:audit",
    "stream": "lockstep.cli.stream:stream",
    "replay": "lockstep.cli.stream:replay",
    "query": "lockstep.cli.query:query",
    "dlq": "lockstep.cli.stream:dlq",
}


class _Lazy(click.Group):
    """A group whose commands are imported on use: `lockstep status` must not pay for MLflow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Lazy)
@click.version_option(package_name="lockstep-scoring")
def _group() -> None:
    """Score events with one approved model, in batch and on the stream, with the same bits."""


def main() -> None:
    """Entry point. `lockstep.exits` says with which code it ends."""
    # models/, streaming/ and jobs/ run from the repository's root; they are not installed.
    sys.path.insert(0, str(Path.cwd()))
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a pipe that cannot show a letter gets its number, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in sys.argv
    try:
        _group(standalone_mode=False)
    except LockstepError as error:
        if as_json:
            facts = {"error": error.message, "left": error.left, "next": error.next}
            click.echo(as_json_text({"kind": type(error).__name__, **facts}), err=True)
        else:
            click.secho(visible(f"{type(error).__name__}: {error}"), fg="red", err=True)
        sys.exit(exit_code(error))
    except click.ClickException as error:
        if as_json:
            facts = {"error": error.format_message(), "left": None, "next": None}
            click.echo(as_json_text({"kind": "UsageError", **facts}), err=True)
        else:
            error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(interrupted())
