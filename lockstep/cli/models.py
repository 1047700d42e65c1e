"""lockstep data, train, models, inspect and verify: from recorded events to a certified model."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lockstep.cli.output import emit, json_option
from lockstep.cli.progress import Steps
from lockstep.errors import LockstepError, UsageError
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings

__all__ = ["data", "inspect", "models", "train", "verify"]


@click.command()
@click.argument("use_case")
@click.option("--again", is_flag=True, help="Write it again, even if it is all there.")
@json_option
def data(use_case: str, again: bool, as_json: bool) -> None:
    """Bring the recorded events of USE_CASE into the lake.

    Running it again changes nothing.
    """
    from lockstep.training.loading import load

    Pipeline.load(use_case)
    settings = Settings.load()
    with Steps(quiet=as_json) as steps:
        loaded = load(settings.lake, use_case, steps, again=again)
    tables = ", ".join(f"{rows:,} events in {table}" for table, rows in loaded.rows.items())
    document = {
        "use_case": use_case,
        "lake": settings.lake,
        "written": loaded.written,
        "rows": loaded.rows,
        "days": loaded.days,
        "first": loaded.first.isoformat(),
        "last": loaded.last.isoformat(),
    }
    done = "written" if loaded.written else "all there already, nothing written"
    emit(document, f"{done}: {tables}, {loaded.first} to {loaded.last} (UTC)", as_json)


@click.command()
@click.argument("use_case")
@click.option("--again", is_flag=True, help="Train even if the same model is registered.")
@click.option("--trees", type=int, help="Another number of trees than declared, for a try.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write FILE.onnx, its certificate and the native model; register nothing.",
)
@json_option
def train(
    use_case: str, again: bool, trees: int | None, output: Path | None, as_json: bool
) -> None:
    """Train, compile, certify and register a model of USE_CASE.

    The same data, settings and code give the same bytes. What is registered already is not
    trained again.
    """
    from lockstep.training import train as training

    Pipeline.load(use_case)
    if output is not None:
        _require_place(output, use_case)
    settings = Settings.load()
    with Steps(quiet=as_json) as steps:
        steps.start("look at what there is")
        plan = training.make_plan(settings, use_case, trees=trees)
        known = None if output or again else _registered(settings, plan)
        if known is not None:
            text = (
                f"nothing to train: version {known['version']} of {use_case} was trained on the"
                f" same data with the same settings and code (digest {known['digest'][:12]});"
                " --again trains it all the same"
            )
            emit({"use_case": use_case, "trained": False, **known}, text, as_json)
            return
        steps.finish(f"fingerprint {plan.fingerprint[:12]}")
        trained = training.train(settings, plan, steps)
        model, certificate = trained.compiled.model, trained.compiled.certificate
        metrics = model.manifest.training.metrics
        facts: dict[str, Any] = {
            "use_case": use_case,
            "trained": True,
            "digest": model.digest,
            "metrics": metrics,
            "certificate": certificate.summary(),
            "rows": {
                "train": {**trained.rows.counts(), **trained.held},
                "test": trained.test_rows.counts(),
            },
            "rounded": [asdict(found) for found in trained.rounded],
        }
        for found in trained.rounded:
            click.secho(f"rounded: {found}", fg="yellow", err=True)
        if output is not None:
            _write(output, trained)
            emit({**facts, "file": str(output)}, f"{output}: digest {model.digest}", as_json)
            return
        training.check_gates(plan.definition, metrics)
        steps.start("register")
        version, new = _register(settings, trained)
        steps.finish(f"version {version}")
    lines = [
        f"version {version} of {use_case}: digest {model.digest}",
        f"on the test period: {training.show(metrics)}",
        f"certificate: {certificate.summary()}",
        f"next: lockstep approve {use_case} {version} --reason '...'",
    ]
    if not new:
        lines[0] += " (the same bytes were registered before; no new version)"
    emit({**facts, "version": version, "registered": new}, "\n".join(lines), as_json)


@click.command()
@click.argument("use_case")
@json_option
def models(use_case: str, as_json: bool) -> None:
    """Show the versions of USE_CASE: digests, evidence, aliases, and which of them may serve."""
    from lockstep.cli.model_views import versions_text
    from lockstep.registry.mlflow import aliases, model_versions

    Pipeline.load(use_case)
    settings = Settings.load()
    versions = model_versions(settings, use_case)
    named = aliases(settings, use_case)
    approvals, silent = _approvals(settings, use_case)
    document = {
        "use_case": use_case,
        "versions": [
            {
                "version": found.version,
                "digest": found.digest,
                "created_at": found.created_at.isoformat(),
                "aliases": sorted(a for a, number in named.items() if number == found.version),
                "approvals": [a["sequence"] for a in approvals if a["digest"] == found.digest],
                "serves": bool(approvals) and approvals[0]["digest"] == found.digest,
                "tags": found.tags,
            }
            for found in versions
        ],
        "approvals": approvals,
        "approvals_unknown": silent,
    }
    emit(document, versions_text(document), as_json)


@click.command()
@click.argument("model")
@json_option
def inspect(model: str, as_json: bool) -> None:
    """Show what a compiled model says of itself.

    MODEL is a file, USE_CASE/VERSION, or USE_CASE (its champion, else its newest version).
    """
    import msgspec

    from lockstep.cli.model_views import manifest_text
    from lockstep.compiled_model import open_model
    from lockstep.registry.locate import locate

    found = locate(Settings.load(), model)
    opened = open_model(found.data, digest=found.digest)
    document = {
        "model": found.name,
        "digest": opened.digest,
        "bytes": len(opened.data),
        "manifest": msgspec.to_builtins(opened.manifest),
    }
    emit(document, manifest_text(found.name, opened), as_json)


@click.command()
@click.argument("model")
@json_option
def verify(model: str, as_json: bool) -> None:
    """Check a compiled model and run its certificate again.

    MODEL as in `lockstep inspect`. Without the native model beside it, its bytes, operators,
    manifest and golden vectors are checked.
    """
    import msgspec

    from lockstep.cli.model_views import verified_text
    from lockstep.registry.locate import locate
    from lockstep.training.verification import verify as run

    settings = Settings.load()
    found = locate(settings, model)
    with Steps(quiet=as_json) as steps:
        verified = run(settings, found, steps)
    document = {
        "model": found.name,
        "digest": verified.model.digest,
        "golden_rows": len(verified.model.manifest.golden.margin),
        "recorded_events": verified.recorded_events,
        "certificate": msgspec.to_builtins(verified.certificate),
        "stored_certificate": msgspec.to_builtins(verified.stored),
    }
    emit(document, verified_text(found.name, verified), as_json)


def _registered(settings: Settings, plan: Any) -> dict[str, Any] | None:
    """The newest version with the plan's fingerprint whose bytes are still what they were."""
    from lockstep.registry.mlflow import FINGERPRINT_TAG, model_versions

    for found in model_versions(settings, plan.use_case):
        if found.tags.get(FINGERPRINT_TAG) == plan.fingerprint:
            return {"version": found.version, "digest": found.digest}
    return None


def _register(settings: Settings, trained: Any) -> tuple[int, bool]:
    """Its version, and whether that is new: the same bytes are registered once."""
    from lockstep.registry.mlflow import model_versions
    from lockstep.registry.register import register

    model = trained.compiled.model
    for known in model_versions(settings, model.manifest.use_case):
        if known.digest == model.digest:
            return known.version, False
    version = register(
        settings,
        model,
        trained.compiled.certificate,
        native=trained.native,
        fingerprint=trained.fingerprint,
    )
    return version.version, True


def _require_place(output: Path, use_case: str) -> None:
    """Raises UsageError for a file that cannot be written: before anything is trained."""
    if output.is_dir():
        raise UsageError(
            f"--output {output} is a folder", next=f"--output {output / use_case}.onnx"
        )
    if output.suffix != ".onnx":
        fix = output.with_suffix(".onnx")
        raise UsageError(f"--output {output} does not end in .onnx", next=f"--output {fix}")
    places = (output, *output.absolute().parents)
    there = next(place for place in places if place.exists())
    if not os.access(there, os.W_OK) or not (there == output or there.is_dir()):
        why = "not yours to write" if there == output or there.is_dir() else "a file, not a folder"
        raise UsageError(
            f"--output {output} cannot be written: {there} is {why}",
            next="name a file in a folder that you may write",
        )


def _write(output: Path, trained: Any) -> None:
    from lockstep.registry.locate import certificate_path, native_path

    compiled = trained.compiled
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        native_path(output, trained.native.suffix).write_bytes(trained.native.data)
        certificate_path(output).write_text(compiled.certificate.to_json() + "\n")
        output.write_bytes(compiled.model.data)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {error}",
            left="nothing in the registry; of the files those that were written until then",
            next="name a file in a folder with room",
        ) from None


def _approvals(settings: Settings, use_case: str) -> tuple[list[dict[str, Any]], str | None]:
    """The newest approvals; or none, and why the warehouse did not say."""
    from contextlib import closing

    from lockstep.registry.approvals import history
    from lockstep.warehouse.connect import connect

    try:
        with closing(connect(settings, "scorer", use_case)) as connection:
            return [asdict(a) | {"who": a.who} for a in history(connection)], None
    except LockstepError as error:
        return [], error.message
