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
from lockstep.compiling.asking import asking
from lockstep.contracts import Columns, Contract
from lockstep.declared import is_finite, require
from lockstep.errors import UsageError
from lockstep.estimators import Estimator
from lockstep.training.weights import Weight
from lockstep.windows import Window

__all__ = ["Definition", "Label", "Period", "contract", "load_definition", "load_module"]


@dataclass(frozen=True)
class Period:
    """UTC days of event time, `until` exclusive.

    >>> from datetime import date
    >>> len(Period(date(2013, 1, 1), date(2013, 2, 1)).days())
    31
    """

    start: date
    until: date

    def __post_init__(self) -> None:
        for name in ("start", "until"):
            value = getattr(self, name)
            # A datetime is a date, too, and compares with none.
            require(
                type(value) is date, f"{name} of a Period", value, "a date", "date(2025, 1, 31)"
            )
        if self.start >= self.until:
            raise UsageError(
                f"the period from {self.start} until {self.until} has no days",
                next="until= is the day after the last one",
            )

    def days(self, *, more: timedelta = timedelta()) -> list[date]:
        """The days, and after them those that `more` reaches into."""
        count = (self.until - self.start).days + -(-more // timedelta(days=1))
        return [self.start + timedelta(days=day) for day in range(count)]


@dataclass(frozen=True)
class Label:
    """Where the truth comes from: other events, with the id of the event that is scored.

    >>> from datetime import timedelta
    >>> late = Label(
    ...     contract="arrival.v1.json",
    ...     fields=("arr_delay",),
    ...     of=lambda arrivals: arrivals["arr_delay"] > 15,
    ...     meaning="arr_delay > 15 minutes",
    ...     within=timedelta(days=1),
    ... )
    """

    contract: str
    """File name of their contract, in schemas/USE_CASE."""
    fields: tuple[str, ...]
    """What `of` reads."""
    of: Callable[[Columns], np.ndarray[Any, Any]]
    """Columns -> one label a row: True or False, or a number; NaN where nobody knows."""
    meaning: str
    """For people, and part of the training's fingerprint."""
    within: timedelta
    """How much later than the scored event the truth may be known. What comes later is no label,
    for an event's label must not depend on when somebody trains. It is counted apart, where it
    is found within as long again after the period; beyond that nobody looks for it."""

    def __post_init__(self) -> None:
        _require_text(self, "contract", "outcome.v1.json")
        _require_text(self, "meaning", "in words what a label says")
        _require_function(self, "of", "a function of the outcomes' columns")
        require(
            isinstance(self.fields, tuple | list)
            and all(isinstance(name, str) for name in self.fields)
            and len(self.fields) > 0,
            "fields of the Label",
            self.fields,
            "a tuple of names",
            '("arr_delay",)',
        )
        if not isinstance(self.within, timedelta) or self.within <= timedelta():
            raise UsageError(
                f"within of the label {self.meaning!r} is {self.within!r}, not a time above 0",
                next="within=timedelta(days=2), or as long as the truth may take to be known",
            )

    @property
    def whole_days(self) -> timedelta:
        """`within` in whole days: so many after a period all of its labels are known."""
        return -(-self.within // timedelta(days=1)) * timedelta(days=1)


@dataclass(frozen=True)
class Definition:
    """One use case's model: `MODEL = Definition(...)` in models/USE_CASE/model.py.

    The test period begins when the labels of the training period are known: as many days after
    it as the label's `within` reaches into.

    >>> from datetime import date, timedelta
    >>> from lockstep.estimators import XGBoost
    >>> label = Label("outcome.v1.json", ("y",), lambda o: o["y"], "y", timedelta(hours=1))
    >>> MODEL = Definition(
    ...     contract="event.v1.json",
    ...     features=lambda event, fitted: {"x": event["x"]},
    ...     fit=lambda columns: {},
    ...     label=label,
    ...     train=Period(date(2013, 1, 1), date(2013, 9, 1)),
    ...     test=Period(date(2013, 9, 2), date(2013, 10, 1)),
    ...     estimator=XGBoost({"objective": "reg:squarederror", "max_depth": 4}, trees=200),
    ...     gates={"rmse": 3.0},
    ... )
    """

    contract: str
    """File name of the scored events' contract, in schemas/USE_CASE."""
    features: FeatureFunction
    fit: Callable[[Columns], Mapping[str, Any]]
    """Training rows -> the constants that `features` reads, such as vocabularies."""
    label: Label
    train: Period
    test: Period
    estimator: Estimator
    """What is trained, and how: `XGBoost(...)`, or `Trained(path)` for a model file that exists."""
    gates: Mapping[str, float] = field(default_factory=dict)
    """Metric -> what a registered model must reach on the test period: the least of an `auc`,
    the most of an error such as `rmse`."""
    windows: tuple[Window, ...] = ()
    """Window features; `features` finds their values in the event, by name."""
    weight: Weight | None = None
    """How much each training row counts; None: all alike."""
    held_out: timedelta | None = None
    """The last days of the training period, which an estimator that stops early stops by. Nothing
    is learned from them: neither by it nor by `fit`, and neither from events whose labels become
    known in them. The test period stays unseen until it judges the model."""

    def __post_init__(self) -> None:
        self._require_types()
        if self.test.start < self.train.until:
            raise UsageError(
                f"the test period starts on {self.test.start},"
                f" before the training period ends on {self.train.until}"
            )
        # As if trained when the test period begins: by then no later label was known.
        known = self.train.until + self.label.whole_days
        if self.test.start < known:
            raise UsageError(
                f"labels of the training period, which ends on {self.train.until}, become known"
                f" within {self.label.within}, so until {known}: inside the test period, which"
                f" starts on {self.test.start}",
                next=f"leave a gap: start the test period on {known}, or end the training period"
                f" on {self.train.until - (known - self.test.start)}",
            )
        self._require_held_out()
        require(
            self.weight is None or self.estimator.learns,
            "weight of the Definition",
            self.weight,
            f"None: {self.estimator.name} trains nothing that rows could weigh in",
            "no weight=",
        )

    @property
    def learned(self) -> Period:
        """The days of the training period that rows are learned from."""
        if self.held_out is None:
            return self.train
        # As if trained when the held-out days begin.
        return Period(self.train.start, self.train.until - self.held_out - self.label.whole_days)

    @property
    def stopped_by(self) -> Period | None:
        """The held-out days."""
        if self.held_out is None:
            return None
        return Period(self.train.until - self.held_out, self.train.until)

    def _require_held_out(self) -> None:
        held_out, name = self.held_out, self.estimator.name
        if held_out is None:
            require(
                not self.estimator.wants_held_out,
                "held_out of the Definition",
                None,
                f"a time, and {name} is to stop early by the events of the training period's end",
                "held_out=timedelta(days=30)",
            )
            return
        require(
            self.estimator.wants_held_out,
            "held_out of the Definition",
            held_out,
            f"None, and {name} does not stop early by any events",
            "no held_out=, or XGBoost(..., stop_after=20)",
        )
        day = timedelta(days=1)
        require(
            isinstance(held_out, timedelta) and held_out >= day and not held_out % day,
            "held_out of the Definition",
            held_out,
            "a time of whole days",
            "held_out=timedelta(days=30)",
        )
        gap = self.label.whole_days
        days = self.train.until - self.train.start
        if held_out + gap >= days:
            raise UsageError(
                f"the training period has {days.days} days, of which {held_out.days} are held out"
                f" and {gap.days} lie between, until their labels are known (within"
                f" {self.label.within}): none is left to learn from",
                next="hold out fewer days, or take a longer training period",
            )

    def _require_types(self) -> None:
        _require_text(self, "contract", "event.v1.json")
        _require_function(self, "features", "features(event, fitted) of features.py")
        _require_function(self, "fit", "fit(columns) of features.py")
        for name, kind in (("label", Label), ("train", Period), ("test", Period)):
            value, wanted = getattr(self, name), f"a {kind.__name__}"
            require(
                isinstance(value, kind),
                f"{name} of the Definition",
                value,
                wanted,
                f"{kind.__name__}(...)",
            )
        require(
            isinstance(self.estimator, Estimator),
            "estimator of the Definition",
            self.estimator,
            "an estimator",
            'estimator=XGBoost({"objective": "binary:logistic"}, trees=200)',
        )
        require(
            self.weight is None or isinstance(self.weight, Weight),
            "weight of the Definition",
            self.weight,
            "a Weight",
            "weight=Weight(...)",
        )
        _require_mapping(self.gates, "gates", '{"auc": 0.8}')
        for name, value in self.gates.items():
            require(
                is_finite(value), f"the gate {name!r}", value, "a finite number", f'"{name}": 0.8'
            )
        require(
            isinstance(self.windows, tuple | list)
            and all(isinstance(window, Window) for window in self.windows),
            "windows of the Definition",
            self.windows,
            "a tuple of windows",
            "(Window(...),)",
        )


def _require_text(declared: Any, name: str, example: str) -> None:
    value, owner = getattr(declared, name), type(declared).__name__
    require(
        isinstance(value, str) and value.strip() != "",
        f"{name} of the {owner}",
        value,
        "a text",
        f'{name}="{example}"',
    )


def _require_function(declared: Any, name: str, wanted: str) -> None:
    value, owner = getattr(declared, name), type(declared).__name__
    require(callable(value), f"{name} of the {owner}", value, "a function", f"{name}={wanted}")


def _require_mapping(value: Any, name: str, example: str) -> None:
    named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    require(named, f"{name} of the Definition", value, "a dict of names", f"{name}={example}")


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
        with asking(f"models/{use_case}/{name}.py", but=ModuleNotFoundError):
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
