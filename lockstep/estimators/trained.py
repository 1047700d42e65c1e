"""What model.py declares for a model that exists already: `estimator=Trained(path)`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lockstep.declared import require
from lockstep.errors import LockstepError, ModelRefused, UsageError
from lockstep.estimators.known import recognised
from lockstep.estimators.protocol import Estimator, Examples, Gives, Native
from lockstep.progress import Progress

__all__ = ["Trained"]


@dataclass(frozen=True)
class Trained(Estimator):
    """A model file that was trained elsewhere: XGBoost's .ubj or .json.

    Nothing is trained; compiled, certified and measured on the test period it is like any other.
    The file must know its features: their names, in the order of features.py. The training period
    is what you say it was trained on: `fit` of features.py learns its constants there, and the
    manifest's profile is of these rows. Nobody can see whether it was: days that it has seen
    belong into no test period.

    The file is known by its content, not by its name, and a pickle is never opened.
    """

    path: Path | str
    """From where the command is typed, or from model.py: `Path(__file__).parent / "model.ubj"`."""

    name = "Trained"
    learns = False

    def __post_init__(self) -> None:
        require(
            isinstance(self.path, str | Path) and str(self.path) != "",
            "path of Trained",
            self.path,
            "a path",
            'Trained("models/USE_CASE/model.ubj")',
        )

    @cached_property
    def _data(self) -> bytes:
        """Read once: what is described is what is compiled."""
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise UsageError(
                f"the trained model {self.path} cannot be read: {error.strerror}",
                next="name a file that is there, from where the command is typed",
            ) from None

    @cached_property
    def _native(self) -> Native:
        try:
            return recognised(self._data, str(self.path))
        except ModelRefused as error:
            raise self._refusal(error) from None

    @property
    def rounds(self) -> int:
        return 1

    @property
    def packages(self) -> Sequence[str]:
        """Those of its library."""
        return self._native.packages

    @property
    def gives(self) -> Gives:
        return self._native.gives

    @property
    def objective(self) -> str:
        return self._native.about.objective

    def require(self, features: Sequence[str] = ()) -> None:
        """Read the file; its features must have names, and be those of features.py."""
        if self._native.feature_names is None:
            raise UsageError(
                f"{self.path} does not say what its features are called, so nobody can see whether"
                " features.py makes them in its order",
                next="booster.feature_names = [...], in its columns' order, and save it again",
            )
        if features:
            try:
                self._native.require_features(features)
            except UsageError as error:
                raise self._refusal(error) from None

    def _refusal(self, error: LockstepError) -> UsageError:
        """What is in the file, and what to do with a file."""
        return UsageError(
            f"the model in {self.path} cannot be taken: {error.message}",
            next=f"where it comes from: {error.next}; then save it again"
            if error.next
            else "save it again, whole",
        )

    def described(self) -> dict[str, Any]:
        """The file's name and what is in it."""
        return {"file": Path(self.path).name, "sha256": hashlib.sha256(self._data).hexdigest()}

    def fit(
        self,
        features: Sequence[str],
        examples: Examples,
        held_out: Examples | None,
        progress: Progress,
    ) -> Native:
        """The model in the file."""
        progress.advance()
        return self._native
