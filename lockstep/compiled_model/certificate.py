"""The certificate of a compiled model: what was compared with the native one, and the counts.

It is measured when a model is compiled and stored beside it, as JSON.
"""

from __future__ import annotations

import platform

import msgspec

from lockstep.errors import ModelRefused

__all__ = ["Certificate", "Compared"]


class Compared(msgspec.Struct, frozen=True):
    """One set of rows, native beside compiled."""

    rows: int
    batch_sizes: tuple[int, ...]
    margins_differ: int
    """Rows whose margin differs from the native one in any bit; of all batch sizes, the most."""
    scores_beyond_bound: int
    largest_score_difference: float
    differ_between_batch_sizes: int
    """Rows whose score or margin depends on the batch that they came in."""
    features_differ: int | None = None
    """Rows with a feature that the graph computes otherwise than NumPy, which the native model was
    given. None where it was given the graph's: there is no features function without models/."""

    @property
    def holds(self) -> bool:
        """Whether nothing differs that may not."""
        return not (
            self.margins_differ
            or self.scores_beyond_bound
            or self.differ_between_batch_sizes
            or self.features_differ
        )


class Certificate(msgspec.Struct, frozen=True):
    """Stored beside the model. `machine` is where it was measured."""

    digest: str
    use_case: str
    score_bound: float
    compared: dict[str, Compared]
    """By the name of the set: validation, edge_events, beyond_contract, edge_features."""
    golden_rows: int
    versions: dict[str, str]
    machine: str = platform.machine()
    format: int = 1
    trees: str = "onnxruntime"
    """What evaluated the trees of larger batches."""

    def to_json(self) -> str:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Certificate:
        """Read it back. Raises ModelRefused when it is none."""
        try:
            return msgspec.json.decode(text, type=Certificate)
        except msgspec.DecodeError as error:
            raise ModelRefused(f"the certificate cannot be read: {error}") from None

    def rows(self) -> int:
        """Rows compared, over all sets."""
        return sum(found.rows for found in self.compared.values())

    def feature_rows(self) -> int:
        """Rows whose features were compared with NumPy's, and none differed."""
        return sum(found.rows for found in self.compared.values() if found.features_differ == 0)

    def summary(self) -> str:
        """One line for people."""
        worst = max(found.largest_score_difference for found in self.compared.values())
        return (
            f"{sum(f.margins_differ for f in self.compared.values())} of {self.rows():,} margins"
            f" differ from native, scores within {worst:.1e} (bound {self.score_bound:.0e})"
        )
