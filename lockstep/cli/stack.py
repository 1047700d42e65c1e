"""up, down, status: the local stack."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lockstep.cli.output import emit, json_option, tell_refused
from lockstep.errors import UsageError
from lockstep.local import stack as local
from lockstep.local.process import let_children_hear
from lockstep.settings import Settings

if TYPE_CHECKING:
    from lockstep.local.home import Progress

__all__ = ["down", "status", "up"]

_STATUS = "{:<21}  {:<9}  {:<15}  {:<7}  {}"
"""A line fits into 80 columns."""


@click.command()
@click.option(
    "--only",
    "services",
    multiple=True,
    type=click.Choice(local.SERVICES),
    help="Start this service (and Postgres where it needs it); repeatable. Default: all.",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="NAME=NUMBER",
    help=f"Use this port from now on; 0 chooses a free one. Names: {', '.join(local.PORTS)}.",
)
@json_option
def up(services: tuple[str, ...], ports: tuple[str, ...], as_json: bool) -> None:
    """Start the local stack: Postgres, Kafka, MLflow, Airflow. What runs already stays.

    A use case whose pipeline.toml is wrong is left out, and told.
    """
    settings = Settings.load()
    let_children_hear()
    began = time.monotonic()
    refused: local.Refused = {}
    started = local.up(
        settings,
        services or local.SERVICES,
        ports=dict(map(_port, ports)),
        progress=_progress(),
        refused=refused,
    )
    seconds = time.monotonic() - began
    stack = local.Stack(settings)
    user, password = stack.airflow.login
    text = "\n".join(
        [
            f"The local stack runs ({seconds:.1f} s)." if started else "It was running already.",
            f"  Airflow   {stack.airflow.url}  user {user}, password {password}",
            f"  MLflow    {stack.mlflow.url}",
            f"  Kafka     {stack.kafka.bootstrap}",
            f"  Postgres  127.0.0.1:{stack.postgres.port}  (log-ins: {settings.home}/stack.env)",
            "next: lockstep status, lockstep down",
        ]
    )
    data = {
        "started": started,
        "seconds": round(seconds, 3),
        "airflow": stack.airflow.url,
        "mlflow": stack.mlflow.url,
        "kafka": stack.kafka.bootstrap,
        "postgres": f"127.0.0.1:{stack.postgres.port}",
        "environment": str(settings.home / "stack.env"),
        "left_out": tell_refused(refused),
    }
    emit(data, text, as_json)


@click.command()
@click.option("--purge", is_flag=True, help="Delete the data of all services as well.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@json_option
def down(purge: bool, yes: bool, as_json: bool) -> None:
    """Stop the local stack and everything that it has started."""
    settings = Settings.load()
    if purge and not yes:
        click.confirm(f"Delete the data of all services below {settings.home}?", abort=True)
    stopped = local.down(settings, _progress())
    if purge:
        local.purge(settings)
    text = f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running."
    if purge:
        text += f" The data of the services below {settings.home} is deleted."
    emit({"stopped": stopped, "purged": purge}, text, as_json)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """What each service of the local stack is doing, and which use cases are left out.

    Exit code 1 unless all services serve.
    """
    settings = Settings.load()
    rows = local.status(settings)
    lines = [_STATUS.format("service", "state", "address", "pid", "since (UTC)")]
    for row in rows:
        since = (row.since or "")[: len("2013-10-01T00:00")].replace("T", " ")
        lines.append(_STATUS.format(row.name, row.state, row.address or "", row.pid or "", since))
        if row.detail:
            lines.append(f"    {row.detail}")
    healthy = all(row.state == "running" for row in rows)
    if not healthy:
        lines.append(f"logs: {settings.home / 'logs'}\nnext: lockstep up")
    _, refused = local.Stack(settings).use_cases()
    data = {
        "healthy": healthy,
        "services": [asdict(row) for row in rows],
        "left_out": tell_refused(refused),
    }
    emit(data, "\n".join(line.rstrip() for line in lines), as_json)
    if not healthy:
        sys.exit(1)


def _progress() -> Progress:
    """Progress as lines with the seconds since now, on stderr: stdout is for the result."""
    began = time.monotonic()

    def tell(part: str, doing: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {part:<22} {doing}", err=True)

    return tell


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdigit() or not (number == "0" or 1024 <= int(number) <= 65535):
        raise UsageError(
            f"--port {text!r} is not NAME=NUMBER with a number of 1024 to 65535, or 0",
            next="lockstep up --port postgres=5432",
        )
    return name, int(number)
