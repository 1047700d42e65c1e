"""Golden vectors: rows inside the file whose answers every machine must reproduce."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from lockstep.compiled_model.manifest import Golden, Manifest, from_hex, to_hex
from lockstep.contracts import Columns, model_inputs
from lockstep.errors import ModelRefused

__all__ = ["check_golden", "golden_columns", "golden_windows", "record_golden"]

_ALONE = 8
"""Golden rows that are also scored one by one: an answer may not depend on its batch."""


def record_golden(
    columns: Columns, windows: np.ndarray[Any, Any], margin: Any, score: Any
) -> Golden:
    """Write rows and their answers down. `windows` is float32[rows, windows]."""
    return Golden(
        columns={name: _as_text(column) for name, column in columns.items()},
        windows=[to_hex(row) for row in windows],
        margin=to_hex(margin),
        score=to_hex(score),
    )


def _as_text(column: np.ndarray[Any, Any]) -> list[str | int]:
    return [*to_hex(column)] if column.dtype == np.float64 else column.tolist()


def golden_columns(manifest: Manifest) -> dict[str, np.ndarray[Any, Any]]:
    """The golden rows as raw columns. Raises ModelRefused naming a column that does not fit."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    rows = len(manifest.golden.margin)
    for wanted in manifest.inputs:
        values: Any = manifest.golden.columns.get(wanted.name, [])
        try:
            if wanted.type == "float32":
                found[wanted.name] = from_hex(values, np.float64)
            else:
                dtype = object if wanted.type == "string" else np.int64
                found[wanted.name] = np.array(values, dtype)
        except (TypeError, ValueError) as error:
            raise ModelRefused(f"golden column {wanted.name!r} cannot be read: {error}") from None
        if len(found[wanted.name]) != rows or rows == 0:
            raise ModelRefused(
                f"golden column {wanted.name!r} has {len(found[wanted.name])} rows,"
                f" the golden margins {rows}"
            )
    return found


def golden_windows(manifest: Manifest) -> np.ndarray[Any, Any]:
    """float32[rows, windows] of the golden rows."""
    try:
        rows = [from_hex(row, np.float32) for row in manifest.golden.windows]
    except (TypeError, ValueError) as error:
        raise ModelRefused(f"the golden window values cannot be read: {error}") from None
    shape = (len(manifest.golden.margin), len(manifest.windows))
    if [len(row) for row in rows] != [shape[1]] * shape[0]:
        raise ModelRefused(f"the golden window values do not have the shape {shape}")
    return np.array(rows, np.float32).reshape(shape)


def check_golden(session: Any, manifest: Manifest) -> None:
    """Score the golden rows: margins exactly, scores within the manifest's bound.

    Raises ModelRefused naming the first row that does not reproduce, and both values.
    """
    columns, windows = golden_columns(manifest), golden_windows(manifest)
    try:
        margin = from_hex(manifest.golden.margin, np.float32)
        score = from_hex(manifest.golden.score, np.float32)
    except ValueError as error:
        raise ModelRefused(f"the golden answers cannot be read: {error}") from None
    if len(score) != len(margin):
        raise ModelRefused(f"the golden answers have {len(score)} scores, {len(margin)} margins")
    _compare(session, manifest, columns, windows, margin, score, slice(None))
    for row in range(min(_ALONE, len(margin))):
        _compare(session, manifest, columns, windows, margin, score, slice(row, row + 1))


def _compare(
    session: Any,
    manifest: Manifest,
    columns: Columns,
    windows: np.ndarray[Any, Any],
    margin: np.ndarray[Any, Any],
    score: np.ndarray[Any, Any],
    rows: slice,
) -> None:
    feed = model_inputs({name: column[rows] for name, column in columns.items()}, columns)
    for position, window in enumerate(manifest.windows):
        feed[window.name] = np.ascontiguousarray(windows[rows, position])
    try:
        got_score, got_margin = session.run(["score", "margin"], feed)
    except Exception as error:  # its exceptions share no public base class
        raise ModelRefused(f"the golden rows cannot be scored: {error}") from None
    want_score, want_margin = score[rows], margin[rows]
    same = got_margin.view(np.int32) == want_margin.view(np.int32)
    close = np.abs(got_score - want_score) <= manifest.score_bound
    close |= np.isnan(got_score) & np.isnan(want_score)
    if same.all() and close.all():
        return
    first = int(np.argmin(same & close))
    row = first + (rows.start or 0)
    found, recorded = (got_margin, want_margin) if not same[first] else (got_score, want_score)
    what = "margin" if not same[first] else "score"
    raise ModelRefused(
        f"golden vector {row} does not reproduce: {what} is {float(found[first]).hex()},"
        f" recorded {float(recorded[first]).hex()} ({int((~(same & close)).sum())} of"
        f" {len(same)} rows differ; ONNX Runtime here {ort.__version__},"
        f" compiled with {manifest.versions.get('onnxruntime', 'unknown')})",
        next="use the ONNX Runtime that it was compiled with, or train again",
    )
