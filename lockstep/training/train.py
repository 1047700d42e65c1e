"""Train, compile and certify one use case's model.

1. read the training and the test period from the lake, with the windows that each event saw
2. fit the features' constants on the training rows, trace the features into a graph
3. run that graph over the rows: its output, which has to be NumPy's, is what is trained on
4. measure on the test period
5. compile, open as a scorer will, certify on the whole test period
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lockstep.compiled_model.manifest import Training
from lockstep.compiled_model.native_file import NativeFile
from lockstep.compiling import (
    Compiled,
    Traced,
    compile_model,
    graph_features,
    require_own_rows,
    rows_to_answer,
    same_features,
    trace,
)
from lockstep.compiling.asking import asking, lent
from lockstep.contracts import Columns, Contract
from lockstep.declared import require
from lockstep.errors import CheckFailed, LakeError, UsageError
from lockstep.estimators import Examples, Native
from lockstep.progress import Progress, Silent
from lockstep.settings import Settings
from lockstep.training import fingerprint
from lockstep.training.dataset import Rows, read_rows
from lockstep.training.decimals import Decimals, Rounded, recorded_decimals
from lockstep.training.definition import Definition, contract, load_definition
from lockstep.training.history import read_windowed
from lockstep.training.labels import require_labels
from lockstep.training.metrics import FALLING, measure, names
from lockstep.training.profile import profile, quantiles
from lockstep.training.weights import require_fields
from lockstep.windows.declaration import bind
from lockstep.windows.semantics import WindowSet

__all__ = ["Plan", "Trained", "check_gates", "make_plan", "read_periods", "train"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be trained, and a fingerprint of all that decides how it comes out."""

    use_case: str
    definition: Definition
    events: Contract
    outcomes: Contract
    windows: WindowSet
    fingerprint: str
    parts: Mapping[str, str]
    """What of it the model's manifest keeps: of its settings, and of its code as it was planned."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A certified model and the native one that it was compiled from."""

    compiled: Compiled
    native: NativeFile
    """As its library saves it."""
    fingerprint: str
    rows: Rows
    """What it was trained on."""
    held_out: Rows | None
    """What said when to stop, where that was asked for."""
    held: Mapping[str, int]
    """Events of the training period that nothing was learned from: those `held_out`, and those
    `between`, whose labels become known in these days. Empty where none are held out."""
    test_rows: Rows
    rounded: tuple[Rounded, ...]
    """Values of its windows that have more decimals than count."""


def make_plan(settings: Settings, use_case: str, *, trees: int | None = None) -> Plan:
    """Read what the use case declares. Raises UsageError, or LakeError for a day that is missing.

    `trees` trains another number than declared: a smaller model for a try.
    """
    definition = load_definition(use_case)
    if trees is not None:
        if trees < 1:
            raise UsageError(
                f"--trees is {trees}, which is not at least 1", next="--trees 20, for a try"
            )
        definition = dataclasses.replace(definition, estimator=definition.estimator.resized(trees))
    definition.estimator.require()
    events = contract(use_case, definition.contract)
    outcomes = contract(use_case, definition.label.contract)
    for name in definition.label.fields:
        known = ", ".join(outcomes.by_name)
        require(name in outcomes.by_name, "a field of the label", name, f"one of {known}", known)
    if definition.weight is not None:
        require_fields(definition.weight, events, outcomes)
    windows = bind(
        definition.windows,
        events,
        lambda source: Contract.of_source(use_case, source),
        outcomes=[(outcomes.source, name) for name in definition.label.fields],
        decimals_of=partial(recorded_decimals, settings.lake, definition.train),
    )
    try:
        files = fingerprint.files(settings.lake, definition, events, outcomes, windows)
    except LakeError as error:
        raise LakeError(
            error.message,
            left="nothing: no model was trained",
            next=f"lockstep data {use_case} (brings recorded events into the lake); or, in"
            f" models/{use_case}/model.py, days that the lake has, and their windows' days",
        ) from None
    parts = {
        "settings": fingerprint.settings(definition, {"e": events, "o": outcomes}, windows),
        "code": fingerprint.code(use_case),
    }
    found = fingerprint.combine(
        {
            "files": files,
            "versions": fingerprint.versions(definition.estimator.packages),
            **parts,
        }
    )
    return Plan(use_case, definition, events, outcomes, windows, found, parts)


def train(settings: Settings, plan: Plan, progress: Progress | None = None) -> Trained:
    """Do all five steps. Raises ModelRefused when the certificate cannot be given."""
    progress = progress or Silent()
    definition = plan.definition
    definition.estimator.require()
    _require_gates(definition)
    decimals = Decimals(plan.windows)
    everything, tested_on = read_periods(settings, plan, progress, decimals)
    trained_on, held_out = _hold_out(plan, everything)
    held = _held(everything, trained_on, held_out)
    require_labels(definition, plan.events, plan.outcomes, trained_on, tested_on, held_out)
    progress.start("trace the features")
    fitted = _learn(definition, trained_on.columns)
    traced = trace(definition.features, fitted, plan.events, plan.windows)
    definition.estimator.require(traced.names)
    matrix = traced.reader()
    require_own_rows(traced, trained_on.columns)
    ready = graph_features(matrix, plan.events, trained_on.columns, "training")
    unseen = graph_features(matrix, plan.events, tested_on.columns, "validation")
    same_features(traced, trained_on.columns, ready, "training")
    told = ""
    if definition.estimator.learns:
        _require_finite(traced, trained_on, ready, plan.events.id)
        told = _require_varying(traced, ready)
    beside = None
    if held_out is not None:
        answered = graph_features(matrix, plan.events, held_out.columns, "held-out")
        same_features(traced, held_out.columns, answered, "held-out")
        _require_finite(traced, held_out, answered, plan.events.id)
        beside = Examples(answered, held_out.label, held_out.weight)
    progress.finish(
        f"{len(traced.names)} features of {len(traced.inputs)} fields"
        f" and {len(traced.windows)} windows{told}"
    )
    examples = Examples(ready, trained_on.label, trained_on.weight)
    native = _fit(definition, traced, examples, beside, progress)
    score, _ = native.answers(unseen)
    metrics = measure(definition.estimator.gives, tested_on.label, score)
    progress.finish(f"{native.summary()}; on {len(tested_on):,} unseen events: {show(metrics)}")
    progress.start("compile and certify", rows_to_answer(len(tested_on)))
    periods = {"train": trained_on, "test": tested_on, "held_out": held_out}
    compiled = compile_model(
        use_case=plan.use_case,
        contract=plan.events,
        traced=traced,
        native=native,
        validation=tested_on.columns,
        training=_about(plan, traced, trained_on, tested_on, held, metrics, score),
        versions=fingerprint.versions(definition.estimator.packages),
        fingerprints={
            "data": fingerprint.combine(
                {name: rows.fingerprint() for name, rows in periods.items() if rows is not None}
            ),
            **plan.parts,
        },
        answered=progress.advance,
        tree_kernel=settings.tree_kernel,
    )
    progress.finish(compiled.certificate.summary())
    return Trained(
        compiled,
        native.file(),
        plan.fingerprint,
        trained_on,
        held_out,
        held,
        tested_on,
        tuple(decimals.rounded()),
    )


def read_periods(
    settings: Settings, plan: Plan, progress: Progress, decimals: Decimals | None = None
) -> tuple[Rows, Rows]:
    """The rows to train on and those to test on, with the values of the plan's windows."""
    definition, recorded = plan.definition, None
    if plan.windows:
        days = [*definition.train.days(), *definition.test.days()]
        recorded = read_windowed(
            settings, plan.events, plan.windows, days, progress, decimals=decimals
        )
    train, test = (
        read_rows(
            settings.lake,
            plan.events,
            plan.outcomes,
            definition.label,
            period,
            progress,
            windows=plan.windows,
            recorded=recorded,
            weight=weight,
        )
        for period, weight in ((definition.train, definition.weight), (definition.test, None))
    )
    return train, test


def _hold_out(plan: Plan, everything: Rows) -> tuple[Rows, Rows | None]:
    """The training period's rows to learn from, and those that say when to stop."""
    definition = plan.definition
    if definition.stopped_by is None:
        return everything, None
    learned = everything.within(plan.events, definition.learned)
    left_out = {name: getattr(everything, name) for name in ("unknown", "early", "late")}
    return (
        dataclasses.replace(learned, **left_out),
        everything.within(plan.events, definition.stopped_by),
    )


def _held(everything: Rows, learned: Rows, held_out: Rows | None) -> dict[str, int]:
    if held_out is None:
        return {}
    between = len(everything) - len(learned) - len(held_out)
    return {"held_out": len(held_out), "between": between}


def check_gates(definition: Definition, metrics: Mapping[str, float]) -> None:
    """Raises CheckFailed naming a metric that misses its gate, or was not measured."""
    for name, gate in definition.gates.items():
        found = metrics.get(name, float("nan"))
        holds = found <= gate if name in FALLING else found >= gate
        if not holds:
            side = "above" if name in FALLING else "below"
            raise CheckFailed(
                f"the model's {name} on the test period is {found}, {side} its gate of {gate}",
                left="nothing: the model was not registered",
                next="improve the features or the estimator, or move the gate in model.py",
            )


def _require_gates(definition: Definition) -> None:
    """Raises UsageError for a gate on what nobody measures."""
    measured = names(definition.estimator.gives)
    for name in definition.gates:
        require(name in measured, "a gate", name, f"one of {', '.join(measured)}", measured[0])


def show(metrics: Mapping[str, float]) -> str:
    """Metrics for people."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _fit(
    definition: Definition,
    traced: Traced,
    examples: Examples,
    held_out: Examples | None,
    progress: Progress,
) -> Native:
    estimator = definition.estimator
    does = "train on" if estimator.learns else "take what was trained elsewhere; here are"
    progress.start(f"{does} {len(examples):,} events", estimator.rounds)
    return estimator.fit(traced.names, examples, held_out, progress)


def _learn(definition: Definition, columns: Columns) -> Mapping[str, Any]:
    """What `fit` learns from the training rows."""
    with asking("fit"):
        fitted = definition.fit(lent(columns))
    require(
        isinstance(fitted, Mapping),
        "what fit returns",
        fitted,
        "names and constants",
        "return {...}, which may be empty",
    )
    return fitted


def _require_finite(traced: Traced, rows: Rows, matrix: np.ndarray[Any, Any], id: str) -> None:
    """Raises UsageError for a feature that is infinite in a row to learn from."""
    infinite = np.isinf(matrix)
    if infinite.any():
        row, position = (int(place) for place in np.argwhere(infinite)[0])
        raise UsageError(
            f"feature {traced.names[position]!r} of event {rows.columns[id][row]!r} is"
            f" {matrix[row, position]}, which no estimator learns from"
            f" ({int(infinite.any(axis=1).sum()):,} of {len(matrix):,} rows)",
            left="nothing: no model was trained",
            next="let features.py say xp.nan there, for instance xp.where(b == 0, xp.nan, a / b)",
        )


def _require_varying(traced: Traced, matrix: np.ndarray[Any, Any]) -> str:
    """Raises UsageError where every feature is constant; what to say where some are."""
    first = matrix[:1]
    same = ((matrix == first) | (np.isnan(matrix) & np.isnan(first))).all(axis=0)
    constant = [name for name, found in zip(traced.names, same, strict=True) if found]
    if len(constant) == len(traced.names):
        raise UsageError(
            f"every feature is the same in every training row: {', '.join(constant)}",
            left="nothing: no model was trained",
            next="features that tell events apart, or a longer training period",
        )
    return f"; the same in every training row: {', '.join(constant)}" if constant else ""


def _about(
    plan: Plan,
    traced: Traced,
    rows: Rows,
    test: Rows,
    held: Mapping[str, int],
    metrics: dict[str, float],
    score: Any,
) -> Training:
    definition = plan.definition
    binary = definition.estimator.gives == "probability"
    stopped_by = definition.stopped_by
    declared = {
        "held_out": stopped_by
        and f"{stopped_by.start} until {stopped_by.until}: {held['held_out']:,} events;"
        f" not learned from before it: {held['between']:,}",
        "weight": definition.weight and definition.weight.meaning,
        "label": definition.label.meaning,
    }
    return Training(
        trained_from=definition.learned.start.isoformat(),
        trained_until=definition.learned.until.isoformat(),
        tested_from=definition.test.start.isoformat(),
        tested_until=definition.test.until.isoformat(),
        rows=len(rows),
        positives=int((rows.label > 0.5).sum()) if binary else None,
        test_rows=len(test),
        test_positives=int((test.label > 0.5).sum()) if binary else None,
        labels=() if binary else quantiles(rows.label.astype(np.float64)),
        metrics=metrics,
        parameters={
            **definition.estimator.described(),
            **{name: value for name, value in declared.items() if value is not None},
        },
        profile=profile(plan.events, traced.inputs, traced.windows, rows.columns),
        scores=quantiles(score.astype(np.float64)),
    )
