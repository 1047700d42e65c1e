"""Run a model's certificate again: here, today, with what lies beside the model.

It imports nothing of models/: contract, fields and test period are in the file's manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from lockstep.compiled_model import CompiledModel, open_model
from lockstep.compiled_model.certificate import Certificate
from lockstep.compiled_model.golden import golden_columns
from lockstep.compiled_model.parts import features_part
from lockstep.contracts import Columns, columns_from_arrow
from lockstep.errors import LakeError, ModelRefused, UsageError
from lockstep.lake import read_partition
from lockstep.registry.locate import Located

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """What held. `certificate` is the one measured now, None without the native model."""

    model: CompiledModel
    stored: Certificate | None
    certificate: Certificate | None
    recorded_events: int
    """Events of the test period that were compared; 0 when the lake does not have them."""


def verify(
    lake: str,
    found: Located,
    *,
    events: Callable[[int], None] = lambda _: None,
    answered: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Open the model (which scores its golden vectors), then measure its certificate again.

    Raises ModelRefused naming what does not hold any more.
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
    booster = _booster(found.native)
    recorded = _recorded(lake, model)
    # Without a lake the golden events take the recorded ones' place.
    columns = recorded if recorded is not None else golden_columns(model.manifest)
    rows = len(next(iter(columns.values())))
    certificate = _measure(model, booster, columns, events=events, answered=answered)
    return Verified(model, stored, certificate, rows if recorded is not None else 0)


def _measure(
    model: CompiledModel,
    booster: Any,
    columns: Columns,
    *,
    events: Callable[[int], None],
    answered: Callable[[int], None],
) -> Certificate:
    from lockstep.compiling import rows_to_answer
    from lockstep.compiling.compile import row_sets
    from lockstep.compiling.estimator import read_forest
    from lockstep.compiling.parity import certify
    from lockstep.training.fingerprint import versions

    events(rows_to_answer(len(next(iter(columns.values())))))
    sets = row_sets(model, features_part(model), read_forest(booster), booster, columns)
    return certify(
        model.digest,
        model.manifest.use_case,
        sets,
        golden_rows=len(model.manifest.golden.margin),
        versions=versions(),
        answered=answered,
    )


def _booster(native: bytes) -> Any:
    try:
        import xgboost
    except ImportError:
        raise UsageError(
            "the native model cannot be run: xgboost is not installed", next="uv sync --extra train"
        ) from None
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(native))
    except xgboost.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelRefused(f"the native model beside it cannot be read: {reason}") from None
    return booster


def _recorded(lake: str, model: CompiledModel) -> Columns | None:
    """The events of the test period; None when the lake lacks a day of it."""
    about = model.manifest.training
    day, until = date.fromisoformat(about.tested_from), date.fromisoformat(about.tested_until)
    tables = []
    while day < until:
        try:
            tables.append(read_partition(lake, model.contract, day))
        except LakeError:
            return None
        day += timedelta(days=1)
    return columns_from_arrow(model.contract, pa.concat_tables(tables))
