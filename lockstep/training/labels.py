"""Labels: what the use case's function says of the outcomes, and whether one can learn from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lockstep.compiling.asking import asking, lent
from lockstep.contracts import Columns, Contract
from lockstep.errors import UsageError
from lockstep.training.definition import Definition, Label

if TYPE_CHECKING:
    from lockstep.training.dataset import Rows

__all__ = ["label_values", "require_labels"]


def label_values(
    label: Label, outcomes: Columns, rows: int, *, secret: bool = False
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The label of each of `rows` outcomes, NaN where nobody knows; infinite beyond float32.

    Raises UsageError for what is no number a row; of `secret` outcomes it says no value.
    """
    with asking("the label's `of`", secret=secret), np.errstate(all="ignore"):
        found = label.of(lent(outcomes))
    wanted = f"a NumPy array of {rows:,} numbers or truth values, one an outcome"
    if not isinstance(found, np.ndarray):
        raise UsageError(
            f"the label's `of` returns a {type(found).__name__}, not {wanted}", next=_OF
        )
    if found.dtype.kind not in "bfiu" or found.shape != (rows,):
        raise UsageError(
            f"the label's `of` returns {found.dtype} of the shape {found.shape}, not {wanted}",
            next=_OF,
        )
    with np.errstate(over="ignore"):
        return found.astype(np.float32)


_OF = "write one that compares or computes with outcomes[...], for every row"


def require_labels(
    definition: Definition,
    events: Contract,
    outcomes: Contract,
    train: Rows,
    test: Rows,
    held_out: Rows | None = None,
) -> None:
    """Raises UsageError naming an event whose label the objective cannot be taught, or a period
    that teaches nothing: without labels, or with one and the same everywhere that counts."""
    binary = definition.estimator.gives == "probability"
    periods = [("training", definition.learned, train), ("test", definition.test, test)]
    if held_out is not None and definition.stopped_by is not None:
        periods.append(("held-out", definition.stopped_by, held_out))
    for name, period, rows in periods:
        about = f"the {name} period, from {period.start} until {period.until},"
        if not len(rows):
            # Of a part of a period nobody counted what was left out.
            whole = name == "test" or held_out is None
            told = f" ({rows.left_out(definition.label)})" if whole else ""
            raise UsageError(
                f"{about} has no event with a known outcome{told}",
                next="periods whose outcomes the lake has, or a label that is not NaN for all of"
                " them",
            )
        _require_values(definition, events, outcomes, rows, binary=binary)
        label = rows.label if rows.weight is None else rows.label[rows.weight > 0]
        if not len(label):
            raise UsageError(
                f"every event of {about} weighs 0 ({len(rows):,} events)",
                left="nothing: no model was trained",
                next="a weight above 0 for the events that are to teach something",
            )
        # A test period of one class has no AUC; a constant number still has errors.
        learned = name == "training" and definition.estimator.learns
        if (learned or (name != "training" and binary)) and (label == label[0]).all():
            counted = "" if rows.weight is None else " that weigh more than 0"
            raise UsageError(
                f"every label of {about} is {_number(label[0])}: {definition.label.meaning!r}"
                f" of {len(label):,} events{counted}",
                next="a longer period, or a label that tells events apart",
            )


def _require_values(
    definition: Definition, events: Contract, outcomes: Contract, rows: Rows, *, binary: bool
) -> None:
    label = rows.label
    wrong = ~((label == 0) | (label == 1)) if binary else ~np.isfinite(label)
    if not wrong.any():
        return
    row = int(wrong.argmax())
    wanted = "0 or 1" if binary else "a finite float32"
    objective = definition.estimator.objective
    secret = outcomes.are_sensitive(definition.label.fields)
    raise UsageError(
        f"the label {definition.label.meaning!r} of event {rows.columns[events.id][row]!r}"
        f" is {'(sensitive)' if secret else _number(label[row])}, and {objective} learns {wanted}"
        f" ({int(wrong.sum()):,} of {len(rows):,} events)",
        next="let the label's `of` answer True or False, or take an objective that learns numbers"
        if binary
        else "let the label's `of` answer NaN where nobody knows, and a number in another unit"
        " where it is too large",
    )


def _number(value: Any) -> str:
    return f"{float(value):g}"
