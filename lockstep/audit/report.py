"""An audit in words, and as one JSON document."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lockstep.warehouse.audits import AuditedDay
from lockstep.warehouse.landings import LandedSoFar

__all__ = ["Report", "as_document", "render"]

_HEADER = ("window", "equal", "incomplete", "unexplained", "late", "largest gap")


@dataclass(frozen=True)
class Report:
    """An audit as it was stored."""

    use_case: str
    audit_id: int
    day: AuditedDay
    late_events: dict[str, int]
    """Source -> state events of the day that came late."""
    versions: dict[str, int]
    """Digest -> model version, of all models that wrote rows of the day."""
    landed: list[LandedSoFar]
    """How far the topics of the events and of their state are in the lake."""


def render(report: Report) -> str:
    """A few lines and a table for a person."""
    day = report.day
    width = len(f"{day.rows:,}")
    lines = [
        f"{report.use_case} {day.day}, the stream of {day.topic}:"
        f" {day.rows:,} predictions (audit {report.audit_id})",
        f"  {day.equal:>{width},} used window values that the lake gives, bit for bit",
        f"  {day.incomplete:>{width},} incomplete: scored after a wait that expired, and equal to"
        " what had been read then",
        f"  {day.unexplained:>{width},} unexplained"
        + (f", of which {day.missing:,} are not in the lake" if day.missing else ""),
        *([f"  {so_far}" for so_far in report.landed] if day.unexplained else []),
    ]
    if day.conflicting:
        lines.append(
            f"{day.conflicting:,} of these events have conflicting copies in the lake: each row was"
            " held to the copy that was scored; a batch scores the first one"
        )
    lines += [
        f"  {e['event_id']} at {e['event_time']}: copies at {_places(e['copies'])}; scored was"
        f" {_places([e['scored']])}"
        for e in day.examples
        if e["kind"] == "conflicting copies"
    ]
    if not day.windows:
        lines.append("Their models have no windows: there was nothing to recompute.")
        return "\n".join(lines)
    by_source = ", ".join(f"{count:,} {source}" for source, count in report.late_events.items())
    lines.append(
        f"{day.late_events:,} state events of that day came late ({by_source});"
        f" counting late ones would have changed {day.late_changed:,} predictions' windows"
    )
    for digest in dict.fromkeys(window.digest for window in day.windows):
        lines += ["", f"version {report.versions[digest]} (digest {digest[:12]})"]
        rows: list[tuple[str, ...]] = [_HEADER]
        for found in (w for w in day.windows if w.digest == digest):
            apart = found.largest_difference
            counts = (found.equal, found.incomplete, found.unexplained, found.late_changed)
            told = [f"{count:,}" for count in counts]
            rows.append((found.window, *told, "" if apart is None else f"{apart:g}"))
        widths = [max(len(row[n]) for row in rows) for n in range(len(_HEADER))]
        for first, *rest in rows:
            cells = [cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join([f"  {first:<{widths[0]}}", *cells]))
    lines += [
        _line(found.window, example)
        for found in day.windows
        for example in found.examples
        if example["kind"] == "unexplained"
    ]
    return "\n".join(lines)


def as_document(report: Report) -> dict[str, Any]:
    """For --json: every count, and the examples with their values."""
    return {
        "use_case": report.use_case,
        "audit_id": report.audit_id,
        **asdict(report.day),
        "day": report.day.day.isoformat(),
        "late_by_source": report.late_events,
        "versions": report.versions,
        "landed": [asdict(so_far) for so_far in report.landed],
    }


def _line(window: str, example: dict[str, Any]) -> str:
    stored, found = example["stored"], example["recomputed"]
    at_cut = f", {_exact(example['at_cut'])} at its cut" if "at_cut" in example else ""
    return (
        f"  {window}: {example['event_id']} at {example['event_time']}: stored {_exact(stored)},"
        f" the lake gives {_exact(found)}{at_cut} ({example['reason']})"
    )


def _places(places: list[list[int | None]]) -> str:
    return ", ".join(
        "a loaded file" if partition is None else f"[{partition}] {offset}"
        for partition, offset in places
    )


def _exact(value: float | str | None) -> str:
    """A decimal and the float32's bits: values that look alike may differ."""
    if value is None:
        return "none"
    return f"{value} (0x{int(np.float32(value).view(np.uint32)):08x})"
