"""Constraints of single features, by name: a position is another feature after the next change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from lockstep.declared import require, shown
from lockstep.errors import UsageError
from lockstep.estimators.protocol import listed

__all__ = ["CONSTRAINTS", "require_constraints"]

MONOTONE, INTERACTION = "monotone_constraints", "interaction_constraints"
CONSTRAINTS = frozenset({MONOTONE, INTERACTION})
"""Parameters that XGBoost can try only when the features are known."""


def require_constraints(parameters: Mapping[str, Any], features: Sequence[str] = ()) -> None:
    """Raises UsageError for a constraint that names no feature, and says which may be meant.

    Without `features` only its form is looked at.
    """
    named: list[tuple[str, Any]] = []
    if MONOTONE in parameters:
        monotone = parameters[MONOTONE]
        if not isinstance(monotone, Mapping):
            raise _by_name(MONOTONE, monotone, '{"distance": 1, "age": -1}')
        for name, direction in monotone.items():
            whole = isinstance(direction, int) and not isinstance(direction, bool)
            require(
                whole and direction in (-1, 0, 1),
                f"the monotone constraint of {name!r}",
                direction,
                "1 (rises with it), -1 (falls) or 0",
                f'"{name}": 1',
            )
        named += [(MONOTONE, name) for name in monotone]
    if INTERACTION in parameters:
        groups = parameters[INTERACTION]
        if not _is_list(groups) or not all(map(_is_list, groups)):
            raise _by_name(INTERACTION, groups, '[["distance", "seats"], ["wind"]]')
        named += [(INTERACTION, name) for group in groups for name in group]
    for constraint, name in named:
        if not isinstance(name, str):
            raise _by_name(constraint, name, "the feature's name, as features.py makes it")
        if features and name not in features:
            near = get_close_matches(name, features, 1)
            raise UsageError(
                f"{constraint} names the feature {name!r}; features.py makes {listed(features)}",
                left="nothing: no model was trained",
                next=f"write {near[0]!r}" if near else f"leave {name!r} out",
            )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _by_name(constraint: str, value: Any, write: str) -> UsageError:
    return UsageError(
        f"{constraint} is {shown(value)}, which names no features: a position is another feature"
        " when features.py changes",
        next=f"write {write}",
    )
