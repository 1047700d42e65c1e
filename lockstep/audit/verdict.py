"""Stored against recomputed, bit for bit: equal, incomplete or unexplained.

For each row and window, the first that holds:

1. equal        stored and recomputed are the same float32; NaN equals NaN
2. incomplete   the row was marked so, and recomputing at its cut gives what was stored
3. unexplained  all else: also a row whose event is not in the lake, or that has no values
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lockstep.warehouse.audits import AuditedWindow

__all__ = ["EXAMPLES", "Judged", "Recomputed", "judge"]

EXAMPLES = 3
"""Of each kind, for each window."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Recomputed:
    """What the lake gives for a set of rows, in their order; float32[rows, windows]."""

    found: Flags
    """Whether the row's event is in the lake."""
    values: Floats
    late: Floats
    """The same with late events counted, too."""
    at_cut: Floats
    cut_known: Flags
    """Whether the row is incomplete and its cut is stored."""
    copies: Mapping[int, list[Any]]
    """Row -> where the copies of its event lie, [partition, offset] each, if they contradict."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The rows of one model: by window, and each row as its worst window."""

    windows: list[AuditedWindow]
    incomplete: Flags
    unexplained: Flags
    late_changed: Flags


def judge(
    digest: str,
    names: tuple[str, ...],
    ids: pa.Array,
    times: pa.Array,
    stored: Floats,
    has: Flags,
    recomputed: Recomputed,
) -> Judged:
    """`stored` is float32[rows, windows]; `has` says for which rows it was stored at all."""
    told = recomputed
    usable = (told.found & has)[:, None]
    bits = _bits(stored)
    equal = usable & (bits == _bits(told.values))
    at_cut = usable & told.cut_known[:, None] & (bits == _bits(told.at_cut))
    incomplete = ~equal & at_cut
    unexplained = ~equal & ~at_cut
    late = told.found[:, None] & (_bits(told.values) != _bits(told.late))
    with np.errstate(invalid="ignore"):
        apart = np.abs(stored.astype(np.float64) - told.values.astype(np.float64))
    apart[~usable[:, 0]] = np.nan

    windows = []
    for position, name in enumerate(names):
        differing = apart[:, position][~equal[:, position]]
        differing = differing[np.isfinite(differing)]
        examples = [
            _example(kind, row, position, ids, times, stored, has, told)
            for kind, flags in (
                ("unexplained", unexplained),
                ("incomplete", incomplete),
                ("late", late),
            )
            for row in np.flatnonzero(flags[:, position])[:EXAMPLES].tolist()
        ]
        windows.append(
            AuditedWindow(
                digest=digest,
                window=name,
                rows=len(ids),
                equal=int(equal[:, position].sum()),
                incomplete=int(incomplete[:, position].sum()),
                unexplained=int(unexplained[:, position].sum()),
                late_changed=int(late[:, position].sum()),
                largest_difference=float(differing.max()) if len(differing) else None,
                examples=examples,
            )
        )
    worst = unexplained.any(axis=1)
    return Judged(windows, incomplete.any(axis=1) & ~worst, worst, late.any(axis=1))


def _bits(values: Floats) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """float32 as integers, every NaN as the same one."""
    return np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))


def _example(
    kind: str,
    row: int,
    position: int,
    ids: pa.Array,
    times: pa.Array,
    stored: Floats,
    has: Flags,
    told: Recomputed,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": kind,
        "event_id": ids[row].as_py(),
        "event_time": times[row].as_py().isoformat(),
        "stored": _number(stored[row, position]) if has[row] else None,
        "recomputed": _number(told.values[row, position]) if told.found[row] else None,
    }
    if told.cut_known[row] and told.found[row]:
        found["at_cut"] = _number(told.at_cut[row, position])
    if kind == "late":
        found["with_late_events"] = _number(told.late[row, position])
    if kind == "unexplained":
        found["reason"] = _reason(row, has, told)
    return found


def _reason(row: int, has: Flags, told: Recomputed) -> str:
    if not told.found[row]:
        return "missing in the lake"
    return "differs" if has[row] else "no window values were stored"


def _number(value: np.float32) -> float | str:
    """For JSON, which has neither NaN nor infinity. The shortest decimal of that float32."""
    return float(str(value)) if np.isfinite(value) else str(value)
