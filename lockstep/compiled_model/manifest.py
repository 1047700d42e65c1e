"""The manifest: what a compiled model says of itself, as JSON in the file's metadata_props.

It holds no time stamp, no path and nothing of the machine, so that the same training gives the
same bytes. Floats that must survive exactly are written as C99 hexadecimal, NaN and infinities
included.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from lockstep.errors import ModelRefused
from lockstep.windows.semantics import StateSource, WindowSpec

__all__ = [
    "FORMAT",
    "MANIFEST_KEY",
    "ColumnProfile",
    "Estimator",
    "Golden",
    "Input",
    "Manifest",
    "Training",
    "decode",
    "encode",
    "from_hex",
    "to_hex",
]

FORMAT = 2
MANIFEST_KEY = "lockstep.manifest"

InputType = Literal["string", "int64", "float32"]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the graph, named as the contract's field."""

    name: str
    type: InputType


class Estimator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the graph does with the features."""

    kind: str
    objective: str
    link: Literal["logistic", "identity"]
    trees: int
    depth: int


class ColumnProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input as the training rows had it. Numbers have quantiles, strings frequent values."""

    nulls: float
    """Fraction of rows."""
    quantiles: tuple[float, ...] = ()
    """At 0, 0.01, 0.25, 0.5, 0.75, 0.99 and 1, of the values that are not null."""
    distinct: int = 0
    frequent: dict[str, float] = {}
    """The ten most frequent strings and their fractions; empty for a sensitive field."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model comes from. Days are UTC, `until` is exclusive; trained are those that rows
    were learned from, held-out ones are told in `parameters`."""

    trained_from: str
    trained_until: str
    tested_from: str
    tested_until: str
    rows: int
    positives: int | None
    """Rows with the label 1; None where labels are values."""
    test_rows: int
    test_positives: int | None
    metrics: dict[str, float]
    parameters: dict[str, Any]
    profile: dict[str, ColumnProfile]
    scores: tuple[float, ...]
    """Quantiles of the test scores, as in ColumnProfile."""
    labels: tuple[float, ...] = ()
    """Of the training labels, where they are values."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows whose answers are known: every machine must give these margins, bit for bit."""

    columns: dict[str, list[str | int]]
    """Raw columns; numbers as hexadecimal strings of float64."""
    windows: list[list[str]]
    """One list of float32 a row, in the order of the manifest's windows."""
    margin: list[str]
    score: list[str]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that serving needs to know and that is not in the graph."""

    format: int
    use_case: str
    contract: dict[str, Any]
    """The JSON Schema of the events that it scores."""
    inputs: tuple[Input, ...]
    sources: tuple[StateSource, ...]
    """The state events that the windows aggregate, with their contracts."""
    windows: tuple[WindowSpec, ...]
    """Window inputs, float32 columns, in the order of a row's window values."""
    features: tuple[str, ...]
    """The columns of the estimator's matrix."""
    estimator: Estimator
    training: Training
    golden: Golden
    score_bound: float
    """How far a score may be from the recorded one; margins may not differ at all."""
    versions: dict[str, str]
    fingerprints: dict[str, str]
    outputs: tuple[str, ...] = ("score", "margin")


def encode(manifest: Manifest) -> str:
    """The manifest as JSON. Keys keep their order: that of a contract's fields means something."""
    return msgspec.json.encode(manifest).decode()


def decode(text: str) -> Manifest:
    """Read a manifest. Raises ModelRefused naming the part that does not fit."""
    try:
        found = msgspec.json.decode(text, type=_Format)
        if found.format != FORMAT:
            raise ModelRefused(
                f"the model's manifest has format {found.format}, this Lockstep reads {FORMAT}",
                next="compile the model again with this version: lockstep train USE_CASE --again",
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ModelRefused(f"the model's manifest cannot be read: {error}") from None


class _Format(msgspec.Struct):
    format: int


def to_hex(values: Any) -> list[str]:
    """Floats as exact text."""
    return [float(value).hex() for value in values]


def from_hex(texts: list[str], dtype: Any) -> np.ndarray[Any, Any]:
    """The floats that `to_hex` wrote. Raises ValueError for other text."""
    return np.array([float.fromhex(text) for text in texts], dtype)
