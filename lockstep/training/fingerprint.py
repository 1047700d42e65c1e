"""What a training depends on, as hashes: the same hashes give the same model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lockstep
from lockstep.contracts import Contract
from lockstep.lake import fingerprint as lake_fingerprint
from lockstep.lake import state_days, state_files
from lockstep.training.dataset import reached
from lockstep.training.definition import Definition
from lockstep.training.sources import Sources, sources_of
from lockstep.windows.semantics import WindowSet

__all__ = ["code", "combine", "files", "settings", "versions"]

_PACKAGES = ("numpy", "onnx", "onnxruntime", "ndonnx", "spox", "tzdata")
_PARTS = (
    *("compiled_model", "compiling", "contracts", "estimators", "features", "lake", "scoring"),
    "training",
)


def versions(estimators: Sequence[str]) -> dict[str, str]:
    """Of every package whose change may change the model's bits: ours, and the estimator's."""
    names = (*_PACKAGES, *estimators)
    return {"lockstep": lockstep.__version__} | {name: version(name) for name in names}


def code(use_case: str) -> str:
    """Of the sources that make the model: Lockstep's, and all that the use case's model.py reaches
    (`lockstep.training.sources`), with the versions of the libraries that it names."""
    root = Path(lockstep.__file__).parent
    own = Sources(
        {
            f"lockstep/{path.relative_to(root)}": path
            for part in _PARTS
            for path in (root / part).rglob("*.py")
        }
    )
    theirs = sources_of(f"models.{use_case}.model")
    return combine(
        {"lockstep": own.hashes(), "own": theirs.hashes(), "libraries": theirs.versions()}
    )


def settings(definition: Definition, contracts: Mapping[str, Contract], windows: WindowSet) -> str:
    """Of everything that models/USE_CASE/model.py declares, and of the contracts."""
    return combine(
        {
            "estimator": [definition.estimator.name, dict(definition.estimator.described())],
            "held_out": definition.held_out and definition.held_out.total_seconds(),
            "weight": definition.weight and definition.weight.described(),
            "train": [definition.train.start.isoformat(), definition.train.until.isoformat()],
            "test": [definition.test.start.isoformat(), definition.test.until.isoformat()],
            "label": definition.label.meaning,
            "within": definition.label.within.total_seconds(),
            "windows": windows.fingerprint,
            "contracts": {name: dict(found.document) for name, found in contracts.items()},
        }
    )


def files(
    lake: str, definition: Definition, events: Contract, outcomes: Contract, windows: WindowSet
) -> str:
    """Of the lake's files that a training reads: quick to take, without reading their rows.

    The same rows in other files have another fingerprint; see `Rows.fingerprint`. Raises
    LakeError naming a day of events, outcomes or state that is missing.
    """
    wanted: set[tuple[str, date]] = set()
    within = definition.label.within
    for period in (definition.train, definition.test):
        for source in (events.source, outcomes.source):
            # Events too: of those after the period, one may be whose outcome lies there.
            wanted |= {(source, day) for day in reached(lake, source, period, within)}
    found = {
        f"{source}/{day}": lake_fingerprint(lake, source, day) for source, day in sorted(wanted)
    }
    days = [*definition.train.days(), *definition.test.days()]
    state_files(lake, windows, days)
    for source, seen in state_days(windows, days).items():
        for day in seen:
            name = f"{source}/{day}"
            found[name] = found.get(name) or lake_fingerprint(lake, source, day)
    return combine(found)


def combine(parts: Mapping[str, Any]) -> str:
    """One hash of many facts, whatever their order."""
    return _sha256(json.dumps(parts, sort_keys=True, default=str).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
