"""lockstep migrate and lockstep approve: what changes who serves, and where it is written."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict

import click

from lockstep.cli.output import emit, json_option, tell_refused
from lockstep.errors import LockstepError, Terminal, UsageError
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings

__all__ = ["approve", "migrate"]


@click.command()
@click.argument("use_cases", metavar="[USE_CASE]...", nargs=-1)
@json_option
def migrate(use_cases: tuple[str, ...], as_json: bool) -> None:
    """Bring the warehouse's schema of each USE_CASE (default: all of them) up to date.

    Of all of them, one that is refused takes no other along; the exit code is 1 then.
    """
    from lockstep.warehouse.migrate import upgrade

    refused: dict[str, LockstepError] = {}
    names = [Pipeline.load(name).use_case for name in use_cases]
    if not names:
        good, wrong = Pipeline.load_all()
        names, refused = list(good), {**wrong}
    if not names and not refused:
        raise UsageError(
            "there is no use case here (looked for models/*/pipeline.toml)",
            next="run this from the repository's root",
        )
    settings = Settings.load()
    done = []
    for name in names:
        try:
            done.append(upgrade(settings, name))
        except Terminal as error:
            if use_cases:
                raise
            refused[name] = error  # The others go on.
    lines = [
        f"{m.use_case}: "
        + (f"{m.before or 'created'} -> {m.after}" if m.changed else f"up to date ({m.after})")
        + "".join(f"\n    note: {note}" for note in m.notes)
        for m in done
    ]
    document = {
        "migrated": [
            {
                "use_case": m.use_case,
                "before": m.before,
                "after": m.after,
                "changed": m.changed,
                "notes": m.notes,
            }
            for m in done
        ],
        "left_out": tell_refused(refused),
    }
    emit(document, "\n".join(lines), as_json)
    if refused:
        sys.exit(1)


@click.command()
@click.argument("use_case")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="Why it may serve; kept for ever.")
@click.option(
    "--name",
    help="Your name, beside the database login that is recorded (default: this system's user).",
)
@json_option
def approve(use_case: str, version: int, reason: str, name: str | None, as_json: bool) -> None:
    """Let VERSION of USE_CASE serve, in batch and on the stream.

    Checks its bytes, its digest, its golden vectors and its certificate first. A rollback is an
    approval of an older version.
    """
    from lockstep.registry.release import approve_version
    from lockstep.warehouse.connect import connect

    Pipeline.load(use_case)
    settings = Settings.load()
    with connect(settings, "releaser", use_case) as connection:
        release = approve_version(
            settings, use_case, version, connection, reason=reason, given_name=name or _user()
        )
    approval, champion = release.approval, release.champion
    if champion.moved_by_hand:
        moved = f"moved to version {champion.before}" if champion.before else "removed"
        click.secho(
            f"the registry's alias champion had been {moved} by hand; it names version"
            f" {champion.after} now. What serves is said by approvals alone.",
            fg="yellow",
            err=True,
        )
    serving = (
        f"version {approval.model_version} of {use_case}, digest {approval.digest[:12]}, by"
        f" approval {approval.sequence} of {approval.who}: {approval.reason}"
    )
    lines = [
        f"serves now: {serving}"
        if release.changed
        else f"nothing to approve, it serves already: {serving}",
        f"certificate: {release.certificate}",
    ]
    if release.changed:
        lines.append("workers follow within seconds, batch with its next run")
    document = {
        "use_case": use_case,
        "changed": release.changed,
        **asdict(approval),
        "certificate": release.certificate,
        "champion": asdict(champion),
    }
    emit(document, "\n".join(lines), as_json)


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
