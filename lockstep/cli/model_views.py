"""Compiled models as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep.compiled_model import CompiledModel
    from lockstep.training.verification import Verified
    from lockstep.windows.semantics import WindowSet

__all__ = ["manifest_text", "verified_text", "versions_text"]

_APPROVALS = 5
_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000))


def manifest_text(name: str, model: CompiledModel) -> str:
    """What `lockstep inspect` prints."""
    about, contract = model.manifest, model.contract
    training, estimator = about.training, about.estimator
    by_type: dict[str, list[str]] = {}
    for wanted in about.inputs:
        by_type.setdefault(wanted.type, []).append(wanted.name)
    unused = [f.name for f in contract.fields if f.name not in model.input_names]
    rows = [
        ("use case", about.use_case),
        ("digest", model.digest),
        ("size", f"{len(model.data):,} bytes"),
        ("contract", f"{contract.name} version {contract.version}"),
        *((f"reads {kind}", ", ".join(names)) for kind, names in by_type.items()),
        ("does not read", ", ".join(unused) or "nothing is left out"),
        *([*_windows(model.windows)] or [("windows", "none")]),
        ("features", ", ".join(about.features)),
        (
            "estimator",
            f"{estimator.kind} {estimator.objective}, {estimator.trees} trees of depth"
            f" {estimator.depth} at most, {estimator.link} link",
        ),
        (
            "trained on",
            f"{training.trained_from} until {training.trained_until}: {training.rows:,} events"
            f"{_positive(training.positives)}",
        ),
        *([("labels", _range(training.labels))] if training.labels else []),
        (
            "tested on",
            f"{training.tested_from} until {training.tested_until}: {training.test_rows:,} events"
            f"{_positive(training.test_positives)}",
        ),
        ("metrics", _pairs(training.metrics)),
        ("parameters", _pairs(training.parameters)),
        ("golden", f"{len(about.golden.margin)} events reproduce on this machine"),
        *((f"{kind} of", value) for kind, value in about.fingerprints.items()),
        ("versions", _pairs(about.versions)),
    ]
    return f"{name}\n{_table(rows)}"


def versions_text(document: Mapping[str, Any]) -> str:
    """What `lockstep models` prints, of its JSON document."""
    use_case, lines = document["use_case"], []
    for found in document["versions"]:
        marks = [*found["aliases"], *(["serves"] if found["serves"] else [])]
        head = f"version {found['version']}  {found['digest'][:12] or '(no digest)'}"
        lines.append(f"{head}  {found['created_at'][:16]}  {', '.join(marks)}".rstrip())
        tags = found["tags"]
        metrics = {
            name.removeprefix("lockstep.metric."): value
            for name, value in tags.items()
            if name.startswith("lockstep.metric.")
        }
        lines.append(f"    trained on {tags.get('lockstep.trained', '?')}; {_pairs(metrics)}")
        lines.append(f"    certificate: {tags.get('lockstep.certificate', 'none')}")
    if not lines:
        lines.append(f"no version of {use_case} is registered; next: lockstep train {use_case}")
    for approval in document["approvals"][:_APPROVALS]:
        lines.append(
            f"approval {approval['sequence']}: version {approval['model_version']}"
            f" ({approval['digest'][:12]}) by {approval['who']}: {approval['reason']}"
        )
    if document["approvals_unknown"]:
        lines.append(f"approvals: unknown ({document['approvals_unknown']})")
    elif not document["approvals"]:
        lines.append(f"no approval yet; next: lockstep approve {use_case} VERSION --reason '...'")
    return "\n".join(lines)


def verified_text(name: str, verified: Verified) -> str:
    """What `lockstep verify` prints."""
    golden = len(verified.model.manifest.golden.margin)
    lines = [
        f"{name}: digest {verified.model.digest}",
        "bytes, operators, manifest and signature: in order",
        f"golden vectors: {golden} of {golden} reproduce",
    ]
    if verified.certificate is None:
        lines.append(
            "certificate: not measured again, the native model is not beside it"
            " (lockstep train --output writes it there)"
        )
        return "\n".join(lines)
    lines.append(f"certificate, measured now: {verified.certificate.summary()}")
    for part, found in verified.certificate.compared.items():
        sizes = ", ".join(f"{size:,}" for size in found.batch_sizes)
        lines.append(f"    {part}: {found.rows:,} rows, the same in batches of {sizes}")
    if not verified.recorded_events:
        lines.append("    the lake lacks the test period: golden events took its place")
    if verified.stored is None:
        lines.append("stored certificate: none beside the model")
    else:
        lines.append(f"stored certificate: {verified.stored.summary()}")
        if rows := verified.stored.feature_rows():
            lines.append(
                f"    row features were NumPy's on {rows:,} rows; here, without models/, native was"
                " given the graph's"
            )
    return "\n".join(lines)


def _windows(windows: WindowSet) -> Iterator[tuple[str, str]]:
    """One line a window, in the order of a row's window values, and one a source of state."""
    wide = max(map(len, windows.names), default=0)
    for position, window in enumerate(windows.windows):
        head = "windows" if position == 0 else ""
        of = f" of {window.value}" if window.value else ""
        of += f" - {window.minus}" if window.minus else ""
        if window.value and window.agg != "count":
            of += f" (scale {window.scale})"
        where = " and ".join(
            f"{c.field} {c.operator}{'' if c.literal is None else f' {c.literal!r}'}"
            for c in window.where
        )
        yield (
            head,
            f"{window.name:<{wide}}  {window.agg}{of} by {', '.join(window.by)}"
            f" over {duration(window.over)} in steps of {duration(window.hop)}, {window.source}"
            f"{f' where {where}' if where else ''}",
        )
    for source in windows.sources.values():
        contract = windows.contracts[source.name]
        yield (
            "state",
            f"{source.name}: {contract.name} version {contract.version}, delay"
            f" {duration(source.delay)}, clock skew {duration(source.clock_skew)}",
        )


def _positive(rows: int | None) -> str:
    return "" if rows is None else f", {rows:,} positive"


def _range(quantiles: Sequence[float]) -> str:
    return f"{quantiles[0]:g} to {quantiles[-1]:g}, half of them below {quantiles[3]:g}"


def duration(micros: int) -> str:
    """Microseconds in the largest unit that they are a whole number of."""
    for unit, size in _UNITS:
        if micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros}us"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"


def _table(rows: Sequence[tuple[str, str]] | Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"  {name:<17}{value}" for name, value in rows)
