"""What a use case declares about its model; the rest of training is the same for all of them.

models/USE_CASE/model.py holds one `MODEL = Definition(...)`. models/USE_CASE/data.py, where
there is one, brings recorded events into the lake: see `lockstep.training.loading`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lockstep.compiling import FeatureFunction
from lockstep.contracts import Columns, Contract
from lockstep.errors import UsageError
from lockstep.features import Window

__all__ = ["Definition", "Label", "Period", "contract", "load_definition", "load_module"]


@dataclass(frozen=True)
class Period:
    """UTC days of event time, `until` exclusive."""

    start: date
    until: date

    def __post_init__(self) -> None:
        if self.start >= self.until:
            raise UsageError(f"the period from {self.start} until {self.until} has no days")

    def days(self, *, more: timedelta = timedelta()) -> list[date]:
        """The days, and after them those that `more` reaches into."""
        count = (self.until - self.start).days + -(-more // timedelta(days=1))
        return [self.start + timedelta(days=day) for day in range(count)]


@dataclass(frozen=True)
class Label:
    """Where the truth comes from: other events, with the id of the event that is scored."""

    contract: str
    """File name of their contract, in schemas/USE_CASE."""
    fields: tuple[str, ...]
    """What `of` reads."""
    of: Callable[[Columns], np.ndarray[Any, Any]]
    """Columns -> one label a row."""
    meaning: str
    """For people, and part of the training's fingerprint."""
    within: timedelta
    """How much later than the scored event the truth may be known. What comes later is no label:
    it is counted apart, for an event's label must not depend on when somebody trains."""

    def __post_init__(self) -> None:
        if not isinstance(self.within, timedelta) or self.within <= timedelta():
            raise UsageError(
                f"within of the label {self.meaning!r} is {self.within!r}, not a time above 0",
                next="within=timedelta(days=2), or as long as the truth may take to be known",
            )


@dataclass(frozen=True)
class Definition:
    """One use case's model."""

    contract: str
    """File name of the scored events' contract, in schemas/USE_CASE."""
    features: FeatureFunction
    fit: Callable[[Columns], Mapping[str, Any]]
    """Training rows -> the constants that `features` reads, such as vocabularies."""
    label: Label
    train: Period
    test: Period
    parameters: Mapping[str, Any]
    """XGBoost's, without nthread."""
    trees: int
    threads: int = 1
    """Part of the model's identity: another number may add sums in another order. More than one
    is slower, not faster, where other work shares the processors: XGBoost's threads spin."""
    gates: Mapping[str, float] = field(default_factory=dict)
    """Metric -> what a registered model must reach on the test period: the least of an `auc`,
    the most of an error such as `rmse`."""
    windows: tuple[Window, ...] = ()
    """Window features; `features` finds their values in the event, by name."""

    def __post_init__(self) -> None:
        if self.test.start < self.train.until:
            raise UsageError(
                f"the test period starts on {self.test.start},"
                f" before the training period ends on {self.train.until}"
            )
        # As if trained when the test period begins: by then no later label was known.
        known = self.train.days(more=self.label.within)[-1] + timedelta(days=1)
        if self.test.start < known:
            raise UsageError(
                f"labels of the training period, which ends on {self.train.until}, become known"
                f" within {self.label.within}, so until {known}: inside the test period, which"
                f" starts on {self.test.start}",
                next=f"leave a gap: start the test period on {known}, or end the training period"
                f" on {self.train.until - (known - self.test.start)}",
            )


def load_definition(use_case: str) -> Definition:
    """MODEL of models/USE_CASE/model.py. Raises UsageError when it is none."""
    found = getattr(load_module(use_case, "model"), "MODEL", None)
    if not isinstance(found, Definition):
        raise UsageError(
            f"models/{use_case}/model.py has no MODEL that is a lockstep.training.Definition",
            next=f"add MODEL = Definition(...) to models/{use_case}/model.py",
        )
    return found


def load_module(use_case: str, name: str) -> ModuleType:
    """models.USE_CASE.NAME. Raises UsageError when the use case has no such file."""
    module = f"models.{use_case}.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise UsageError(
                f"there is no models/{use_case}/{name}.py",
                next="run from the repository's root, or write it (see the README)",
            ) from None
        raise UsageError(
            f"models/{use_case}/{name}.py imports {error.name!r}, which is not installed",
            next="uv sync --extra train",
        ) from None


def contract(use_case: str, name: str, schemas: Path = Path("schemas")) -> Contract:
    """The contract in schemas/USE_CASE/NAME."""
    return Contract.load(schemas / use_case / name)
