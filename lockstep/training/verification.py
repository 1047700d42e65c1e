"""Run a model's certificate again: here, today, with what lies beside the model.

It imports nothing of models/: contract, windows and test period are in the file's manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from lockstep.compiled_model import CompiledModel, open_model
from lockstep.compiled_model.certificate import Certificate
from lockstep.compiled_model.golden import golden_columns, golden_windows
from lockstep.compiled_model.manifest import Estimator
from lockstep.compiled_model.parts import features_part
from lockstep.contracts import Columns, Contract, Judge
from lockstep.errors import ModelRefused, UsageError, printable
from lockstep.estimators import Native
from lockstep.estimators.known import kind_of
from lockstep.lake import counted, read_rows, state_days
from lockstep.lake import days as lake_days
from lockstep.progress import Progress, Silent
from lockstep.registry.locate import Located
from lockstep.settings import Settings
from lockstep.training.history import read_windowed, windowed_columns
from lockstep.windows.semantics import WindowSet

__all__ = ["Verified", "recorded_columns", "verify"]


@dataclass(frozen=True)
class Verified:
    """What held. `certificate` is the one measured now, None without the native model."""

    model: CompiledModel
    stored: Certificate | None
    certificate: Certificate | None
    recorded_events: int
    """Events of the test period that were compared; 0 when the lake does not have them."""


def verify(
    settings: Settings,
    found: Located,
    progress: Progress | None = None,
) -> Verified:
    """Open the model (which scores its golden vectors), then measure its certificate again.

    The window values of a model that has windows are computed again too. Raises ModelRefused
    naming what does not hold any more, and LakeError for a recorded day that cannot be read.
    """
    model = open_model(found.data, digest=found.digest)
    stored = Certificate.from_json(found.certificate) if found.certificate else None
    if stored and stored.digest != model.digest:
        raise ModelRefused(
            f"the certificate beside {found.name} is of digest {stored.digest},"
            f" the model has {model.digest}",
            next=f"lockstep train {model.manifest.use_case} --again",
        )
    if found.native is None:
        return Verified(model, stored, None, 0)
    # Before anything is read: its library may lack, or it is another model.
    native = _native(model, found.native)
    progress = progress or Silent()
    about = model.manifest.training
    first, until = date.fromisoformat(about.tested_from), date.fromisoformat(about.tested_until)
    tested = [first + timedelta(days=n) for n in range((until - first).days)]
    recorded = recorded_columns(settings, model.contract, model.windows, tested, progress)
    # Without a lake the golden events take the recorded ones' place.
    columns = recorded if recorded is not None else _golden(model)
    rows = len(next(iter(columns.values())))
    certificate = _measure(settings, model, native, columns, progress)
    return Verified(model, stored, certificate, rows if recorded is not None else 0)


def _measure(
    settings: Settings, model: CompiledModel, native: Native, columns: Columns, progress: Progress
) -> Certificate:
    from lockstep.compiling import rows_to_answer
    from lockstep.compiling.asked import asked_events
    from lockstep.compiling.compile import row_sets
    from lockstep.compiling.parity import certify
    from lockstep.scoring import open_scorer
    from lockstep.training.fingerprint import versions

    rows = len(next(iter(columns.values())))
    progress.start("compare with the native model", rows_to_answer(rows))
    matrix, inputs = features_part(model), model.manifest.inputs
    asked = asked_events(model.contract, inputs, model.windows, matrix, native.cuts(), columns)
    scorer = open_scorer(model, settings.tree_kernel)
    sets = row_sets(model, scorer, asked, native)
    certificate = certify(
        model.digest,
        model.manifest.use_case,
        sets,
        score_bound=model.manifest.score_bound,
        golden_rows=len(model.manifest.golden.margin),
        versions=versions(native.packages),
        trees=scorer.engine.name,
        answered=progress.advance,
    )
    progress.finish(certificate.summary())
    return certificate


def _native(model: CompiledModel, data: bytes) -> Native:
    """The native model. Raises ModelRefused for another one, UsageError where its library lacks."""
    manifest = model.manifest
    kind, again = kind_of(manifest.estimator.kind), f"lockstep train {manifest.use_case} --again"
    try:
        native = kind.load(data)
    except ModelRefused as error:
        raise ModelRefused(
            f"the native model beside it cannot be used: {error.message}", next=again
        ) from None
    try:
        native.require_features(manifest.features)
    except UsageError as error:
        raise ModelRefused(
            f"the native model beside it is not what was compiled: {error.message}", next=again
        ) from None
    if native.about != manifest.estimator:
        raise ModelRefused(
            "the native model beside it is not what was compiled: it is of"
            f" {_told(native.about)}, and compiled was one of {_told(manifest.estimator)}",
            next=again,
        )
    return native


def _told(about: Estimator) -> str:
    return f"{about.trees} trees of the depth {about.depth} for {printable(about.objective, 60)}"


def recorded_columns(
    settings: Settings,
    contract: Contract,
    windows: WindowSet,
    days: Sequence[date],
    progress: Progress,
) -> Columns | None:
    """The events of `days`; None when the lake lacks one of them, or has no event.

    Raises LakeError for a day that the lake has and that cannot be read.
    """
    lake = settings.lake
    for source, wanted in [(contract.source, days), *state_days(windows, days).items()]:
        if not set(wanted) <= set(lake_days(lake, source)):
            return None
    if windows:
        table = read_windowed(settings, contract, windows, days, progress)
    else:
        judge = Judge(contract, windows.limits)
        tables = [counted(read_rows(lake, contract, day), judge).table for day in days]
        table = pa.concat_tables(tables)
    return windowed_columns(contract, windows, table) if table.num_rows else None


def _golden(model: CompiledModel) -> Columns:
    values = golden_windows(model.manifest)
    windows = {
        name: np.ascontiguousarray(values[:, at]) for at, name in enumerate(model.window_names)
    }
    return golden_columns(model.manifest) | windows
