"""The certificate: proof that the compiled model answers as the native one does.

Every compile ends in it, and nothing makes a compiled model without it. Compared are row features
with NumPy's (`same_features`); margins, bit for bit, and scores, within the estimator's bound
(ONNX Runtime's sigmoid differs from XGBoost's in the last bit); between batch sizes both bit for
bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.compiled_model.certificate import Certificate, Compared
from lockstep.errors import ModelRefused
from lockstep.estimators.protocol import Answers

__all__ = ["BATCH_SIZES", "RowSet", "certify", "compare"]

BATCH_SIZES = (8192, 7, 1)


@dataclass(frozen=True)
class RowSet:
    """Rows to compare on. `score(rows)` answers a slice of them with the compiled graph."""

    name: str
    rows: int
    native: Answers
    score: Callable[[slice], Answers]
    features_differ: int | None = None
    """Rows whose row features differ between NumPy and the graph; None where nobody compared."""


def compare(
    rows: RowSet, *, score_bound: float, answered: Callable[[int], None] = lambda _: None
) -> Compared:
    """Answer `rows` at each batch size and compare with the native answers."""
    native_score, native_margin = rows.native
    first: Answers | None = None
    margins = beyond = between = 0
    largest = 0.0
    for size in BATCH_SIZES:
        parts = []
        for part in _batches(rows.rows, size):
            parts.append(rows.score(part))
            answered(part.stop - part.start)
        score, margin = (np.concatenate(column) for column in zip(*parts, strict=True))
        margins = max(margins, int((_bits(margin) != _bits(native_margin)).sum()))
        apart = np.abs(score.astype(np.float64) - native_score)
        # A NaN compares as beyond: no score may be one.
        beyond = max(beyond, int((~(apart <= score_bound)).sum()))
        largest = max(largest, float(np.nanmax(apart, initial=0.0)))
        first = first or (score, margin)
        unlike = (_bits(score) != _bits(first[0])) | (_bits(margin) != _bits(first[1]))
        between = max(between, int(unlike.sum()))
    return Compared(rows.rows, BATCH_SIZES, margins, beyond, largest, between, rows.features_differ)


def certify(
    digest: str,
    use_case: str,
    sets: Sequence[RowSet],
    *,
    score_bound: float,
    golden_rows: int,
    versions: dict[str, str],
    trees: str = "onnxruntime",
    answered: Callable[[int], None] = lambda _: None,
) -> Certificate:
    """Compare every set. Raises ModelRefused with the counts when anything differs."""
    compared = {}
    for rows in sets:
        compared[rows.name] = found = compare(rows, score_bound=score_bound, answered=answered)
        if not found.holds:
            raise ModelRefused(
                f"no certificate: on {rows.name} ({found.rows:,} rows) {found.margins_differ:,}"
                f" margins differ from native, {found.scores_beyond_bound:,} scores by more than"
                f" {score_bound:.0e} (largest difference {found.largest_score_difference:.1e}),"
                f" {found.differ_between_batch_sizes:,} answers depend on the batch size",
                left="nothing: no model was written",
                next="use another estimator or objective, or report these counts as a defect",
            )
    return Certificate(digest, use_case, score_bound, compared, golden_rows, versions, trees=trees)


def _bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.astype(np.float32, copy=False).view(np.int32)


def _batches(rows: int, size: int) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
