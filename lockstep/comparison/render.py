"""A comparison in words, and as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lockstep.comparison.compare import Comparison, Difference

__all__ = ["as_document", "render"]


def render(comparison: Comparison) -> str:
    """A few lines for a person. "0 differ" stands there only if rows were compared."""
    c = comparison
    width = max(len(f"{n:,}") for n in (c.rows_batch, c.rows_stream))
    lines = [
        f"{c.day}, scored twice: by batch (publish {c.publish_id[:12]}) and by the stream "
        f"({c.topic})",
        f"  {c.rows_batch:>{width},} rows in batch",
        f"  {c.rows_stream:>{width},} rows in the stream",
        f"  {c.rows_both:>{width},} rows in both",
    ]
    for count, where in ((c.only_batch, "batch"), (c.only_stream, "the stream")):
        if count:
            lines.append(f"  {count:>{width},} rows only in {where}")
    if not c.rows_both:
        lines.append("No event is in both: nothing was compared.")
        return "\n".join(lines)
    lines.append(f"{c.differ:,} differ (score and margin, bit for bit, of {c.rows_both:,} rows)")
    if c.other_model:
        lines.append(f"{c.other_model:,} rows were scored by different models, by digest")
    unexplained = [example for example in c.examples if not example.conflicting]
    contradicted = [example for example in c.examples if example.conflicting]
    lines += _listed(c.differ, unexplained)
    if c.conflicting:
        lines.append(
            f"{c.conflicting:,} more differ because their events came in conflicting copies: batch"
            " scores the first on Kafka, the stream answered the one that it read first"
        )
        lines += _listed(c.conflicting, contradicted)
    return "\n".join(lines)


def as_document(comparison: Comparison) -> dict[str, Any]:
    """For --json: every field, what follows from them, and the examples' exact bits."""
    found = asdict(comparison)
    found["day"] = comparison.day.isoformat()
    found["only_batch"] = comparison.only_batch
    found["only_stream"] = comparison.only_stream
    found["same"] = comparison.same
    found["examples"] = [
        {
            "event_id": e.event_id,
            "event_time": e.event_time.isoformat(),
            "batch": {"score": _bits(e.batch_score), "margin": _bits(e.batch_margin)},
            "stream": {"score": _bits(e.stream_score), "margin": _bits(e.stream_margin)},
            "batch_digest": e.batch_digest,
            "stream_digest": e.stream_digest,
            "stream_place": e.stream_place,
            "conflicting": e.conflicting,
            "copies": e.copies,
            "fields": e.fields,
        }
        for e in comparison.examples
    ]
    return found


def _listed(count: int, examples: Sequence[Difference]) -> list[str]:
    lines = [_line(example) for example in examples]
    if count > len(examples):
        lines.append(f"  ... and {count - len(examples):,} more")
    return lines


def _line(e: Difference) -> str:
    copies = ""
    if e.conflicting and e.copies:
        batch, stream = _place(e.copies[0]), _place(e.stream_place)
        copies = f"; {', '.join(e.fields or ())} differ: batch's copy is {batch}, the stream's"
        copies += f" {stream}"
    return (
        f"  {e.event_id} at {e.event_time:%Y-%m-%dT%H:%M:%SZ}: score {_exact(e.batch_score)} "
        f"in batch, {_exact(e.stream_score)} in the stream; margin {_exact(e.batch_margin)} "
        f"and {_exact(e.stream_margin)}{copies}"
    )


def _place(place: Sequence[int] | None) -> str:
    return "a loaded one" if place is None else f"[{place[0]}] {place[1]}"


def _exact(value: float | None) -> str:
    """The shortest decimal of a float32, and its bits: two NaNs, or zeros, look alike."""
    return "none" if value is None else f"{np.float32(value)!s} ({_bits(value)})"


def _bits(value: float | None) -> str | None:
    return None if value is None else f"0x{int(np.float32(value).view(np.uint32)):08x}"
