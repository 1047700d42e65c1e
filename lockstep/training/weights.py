"""Weights of training rows: declared, computed for the rows of the training period, and judged.

A weight may say how much an outcome costs (a field of the outcome), or how much an event matters
or was sampled (a field of the event), and often it is both: so its function gets the fields of
both that it names, and no others. Nothing else is read for it, and a secret one stays unsaid.

Only training rows have weights. In the test period each event counts once, so that metrics and
gates mean the same whatever a training has weighed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.compiling.asking import asking, lent
from lockstep.contracts import Columns, Contract
from lockstep.declared import require
from lockstep.errors import UsageError

__all__ = ["Weight", "require_fields", "weight_values"]

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Weight:
    """How much a row counts in training: `weight=Weight(...)` of a Definition.

    >>> dear = Weight(
    ...     of=lambda events, outcomes: 1 + outcomes["loss"],
    ...     outcomes=("loss",),
    ...     meaning="1 + the loss in euros",
    ... )
    """

    of: Callable[[Columns, Columns], np.ndarray[Any, Any]]
    """(events, outcomes), the columns named below, row by row the same event -> one number a row,
    0 or more, not all 0. A row that weighs 0 teaches the trees nothing; `fit` of features.py sees
    it like any other. The columns cannot be written. `min_child_weight` counts weights, not rows:
    weights far below 1 leave no split that it allows."""
    meaning: str
    """For people, and part of the training's fingerprint."""
    events: tuple[str, ...] = ()
    """Fields of the scored events that `of` reads."""
    outcomes: tuple[str, ...] = ()
    """Fields of the label's events that `of` reads."""

    def __post_init__(self) -> None:
        require(
            callable(self.of),
            "of of the Weight",
            self.of,
            "a function",
            "of=lambda events, outcomes: ...",
        )
        require(
            isinstance(self.meaning, str) and self.meaning.strip() != "",
            "meaning of the Weight",
            self.meaning,
            "a text",
            'meaning="in words what a weight says"',
        )
        for name in ("events", "outcomes"):
            value = getattr(self, name)
            require(
                isinstance(value, tuple | list) and all(isinstance(field, str) for field in value),
                f"{name} of the Weight",
                value,
                "a tuple of names",
                '("arr_delay",)',
            )
        require(
            bool(self.events or self.outcomes),
            "what the Weight reads",
            (),
            "at least one field",
            'events=("seats",), outcomes=("arr_delay",) or both',
        )

    def described(self) -> list[Any]:
        """As JSON has it; the function itself is part of the sources."""
        return [self.meaning, list(self.events), list(self.outcomes)]


def require_fields(weight: Weight, events: Contract, outcomes: Contract) -> None:
    """Raises UsageError for a field that its contract does not have."""
    for contract, names in ((events, weight.events), (outcomes, weight.outcomes)):
        known = ", ".join(contract.by_name)
        for name in names:
            what = f"a field that the weight reads of {contract.source}"
            require(name in contract.by_name, what, name, f"one of {known}", known)


def weight_values(
    weight: Weight, events: tuple[Contract, Columns], outcomes: tuple[Contract, Columns]
) -> Floats:
    """The weight of each row. Raises UsageError for what is no number a row, and for a negative
    one, a NaN or one beyond float32, naming the event; and for a sum beyond it."""
    contract, columns = events
    ids = columns[contract.id]
    read = {name: columns[name] for name in weight.events}
    secret = contract.are_sensitive(weight.events) or outcomes[0].are_sensitive(weight.outcomes)
    with asking("the weight's `of`", secret=secret), np.errstate(all="ignore"):
        found = weight.of(lent(read), lent(outcomes[1]))
    wanted = f"a NumPy array of {len(ids):,} numbers, one a row"
    if not isinstance(found, np.ndarray):
        raise UsageError(
            f"the weight's `of` returns a {type(found).__name__}, not {wanted}", next=_OF
        )
    if found.dtype.kind not in "bfiu" or found.shape != ids.shape:
        raise UsageError(
            f"the weight's `of` returns {found.dtype} of the shape {found.shape}, not {wanted}",
            next=_OF,
        )
    with np.errstate(over="ignore"):
        weights: Floats = found.astype(np.float32)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise UsageError(
            f"the weight {weight.meaning!r} of event {ids[row]!r} is"
            f" {'(sensitive)' if secret else f'{float(weights[row]):g}'}, and a weight is a finite"
            f" number of at least 0 ({int(wrong.sum()):,} of {len(ids):,} events)",
            left="nothing: no model was trained",
            next="let the weight's `of` say what a row without a number weighs:"
            " np.nan_to_num(...), np.clip(...)",
        )
    total = float(weights.sum(dtype=np.float64))
    if total > float(np.finfo(np.float32).max):
        raise UsageError(
            f"the weights {weight.meaning!r} of {len(ids):,} events add up to more than float32"
            " has, and training adds them",
            left="nothing: no model was trained",
            next="weights in another unit: only how they stand to each other matters much",
        )
    return weights


_OF = "write one that computes with events[...] or outcomes[...], for every row"
