"""What model.py declares: `estimator=XGBoost(...)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.declared import is_plain, require
from lockstep.errors import UsageError
from lockstep.estimators.protocol import Estimator, Examples, Gives
from lockstep.estimators.xgboost.boosting import boost
from lockstep.estimators.xgboost.forest import gives
from lockstep.estimators.xgboost.native import PACKAGES, XGBoostModel
from lockstep.estimators.xgboost.parameters import require_parameters
from lockstep.progress import Progress

__all__ = ["XGBoost"]


@dataclass(frozen=True)
class XGBoost(Estimator):
    """Boosted trees of XGBoost, compiled exactly: every margin has the native one's bits.

    Parameters are tried before anything is read, and what XGBoost would refuse, warn of or not
    use is refused. The objective is `binary:logistic` for a probability or `reg:squarederror` for
    a number. `monotone_constraints` and `interaction_constraints` name features:
    `{"distance": 1}`, `[["distance", "seats"], ["wind"]]`.

    >>> XGBoost({"objective": "reg:squarederror", "max_depth": 4}, trees=200).rounds
    200
    """

    parameters: Mapping[str, Any]
    """XGBoost's, without nthread."""
    trees: int
    """Rounds of boosting; the most of them with `stop_after`."""
    threads: int = 1
    """Part of the model's identity: another number may add sums in another order. More than one
    is slower, not faster, where other work shares the processors: XGBoost's threads spin."""
    stop_after: int | None = None
    """Stop when so many more rounds have made nothing better on the rows that the Definition has
    `held_out`, by the last `eval_metric`, and keep the best rounds only."""

    name = "XGBoost"

    def __post_init__(self) -> None:
        named = isinstance(self.parameters, Mapping) and all(
            isinstance(key, str) for key in self.parameters
        )
        require(
            named,
            "parameters of XGBoost",
            self.parameters,
            "a dict of names",
            'parameters={"objective": "binary:logistic"}',
        )
        for name, value in self.parameters.items():
            require(
                is_plain(value),
                f"the parameter {name!r}",
                value,
                "a text, a truth value, a finite number, or a list of such",
                f'"{name}": 1, or int(...) of it',
            )
        for name in ("trees", "threads", "stop_after"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            require(
                whole or (name == "stop_after" and value is None),
                f"{name} of XGBoost",
                value,
                "a whole number of at least 1",
                f"{name}=1",
            )

    @property
    def packages(self) -> Sequence[str]:
        return PACKAGES

    @property
    def gives(self) -> Gives:
        return gives(self.objective)

    @property
    def objective(self) -> str:
        return str(self.parameters["objective"])

    @property
    def rounds(self) -> int:
        return self.trees

    @property
    def wants_held_out(self) -> bool:
        return self.stop_after is not None

    def require(self, features: Sequence[str] = ()) -> None:
        """Train one round of made-up rows."""
        require_parameters(self.parameters, features, stops=self.wants_held_out)

    def described(self) -> dict[str, Any]:
        """What is not declared is left out."""
        stop = {} if self.stop_after is None else {"stop_after": self.stop_after}
        return {**self.parameters, "trees": self.trees, "threads": self.threads, **stop}

    def fit(
        self,
        features: Sequence[str],
        examples: Examples,
        held_out: Examples | None,
        progress: Progress,
    ) -> XGBoostModel:
        """Raises UsageError for what XGBoost refuses, in its words, and for trees that tell nothing
        apart."""
        booster = boost(
            self.parameters,
            examples,
            features=features,
            rounds=self.trees,
            threads=self.threads,
            held_out=held_out,
            stop_after=self.stop_after,
            advanced=progress.advance,
        )
        said = f"{self.trees} trees"
        if held_out is not None:
            kept = booster.num_boosted_rounds()
            said = f"the best {kept} of at most {said} on {len(held_out):,} held-out events"
        model = XGBoostModel(booster, said=said)
        if not model.about.depth:
            weight = examples.weight
            weigh = len(examples) if weight is None else float(weight.sum(dtype=np.float64))
            raise UsageError(
                f"no tree has a split: the model would answer the same for every event"
                f" ({len(examples):,}, which weigh {weigh:g} in all)",
                left="nothing: no model was registered",
                next="min_child_weight and min_split_loss that allow a split: the first counts"
                " weights, not rows; or other weights",
            )
        return model

    def resized(self, rounds: int) -> XGBoost:
        return dataclasses.replace(self, trees=rounds)
