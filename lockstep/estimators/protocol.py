"""What Lockstep asks of a framework that models are trained in: an adapter is these two classes.

`Estimator` is what model.py declares; it trains. `Native` is what training gives, or what a file
of the framework holds; it answers, and says its graph. Training, compiling, certificate and
`lockstep verify` know nothing else of a framework. In the order in which they ask:

1. `Estimator.require()`, before anything is read: is the library installed, can all that is
   declared be trained, and compiled exactly? What cannot be is refused here, named, with what to
   write instead. Once more with the features' names, before anything is trained.
2. `Estimator.described()` and `packages`: what the manifest and the training's fingerprint keep.
   The same description, packages and rows must train the same model, in every bit.
3. `Estimator.fit(...)`: rows in, `Native` out. Nulls are NaN. No row is infinite. `fit` calls
   `progress.advance()` up to `rounds` times.
4. `Native.require_features(...)`: was it made of the columns of features.py, in their order?
5. `Native.answers(...)`, by the library itself, beside the file's: margins must be the same bits,
   scores at most `score_bound` apart, or nothing is compiled.
6. `Native.graph(...)` and `Native.cuts()`: its ONNX operators, and the places where its answers
   may jump, where the certificate looks closest.
7. `Native.file()`, kept beside the compiled model, and `Native.load(...)`, by which
   `lockstep verify` asks it again.

A new adapter is a module of its own that imports its library when it is used, never when
model.py is read: `library()` says which extra to install where it lacks. Its `Native` gets a line
in `lockstep.estimators.known`, its `Estimator` a name in `lockstep.estimators`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from lockstep.compiled_model.manifest import Estimator as Described
from lockstep.compiled_model.native_file import NativeFile
from lockstep.errors import UsageError
from lockstep.progress import Progress

if TYPE_CHECKING:
    from spox import Var

__all__ = [
    "Answers",
    "Cuts",
    "Estimator",
    "Examples",
    "Floats",
    "Gives",
    "Native",
    "library",
    "listed",
]

Floats = np.ndarray[Any, np.dtype[np.float32]]
Answers = tuple[Floats, Floats]
"""(score, margin), float32[n] each."""
Cuts = Sequence[Floats]
"""One array a feature, in the order of the matrix; an empty one where nothing is known."""
Gives = Literal["probability", "number"]
"""What a score is: the probability of the label 1, or the number that the label is."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows to learn from."""

    matrix: Floats
    """float32[n, features], null as NaN."""
    label: Floats
    weight: Floats | None = None
    """How much each row counts, 0 or more; None where all count alike."""

    def __len__(self) -> int:
        return len(self.label)


class Estimator(ABC):
    """What model.py declares with `estimator=`: a framework, and how it is to train."""

    name: ClassVar[str]
    """As it is written in model.py."""
    learns: ClassVar[bool] = True
    """Whether `fit` uses rows. If not, weights and a held-out part have no meaning."""

    @property
    @abstractmethod
    def packages(self) -> Sequence[str]:
        """Distributions whose versions decide how a model comes out."""

    @property
    @abstractmethod
    def gives(self) -> Gives:
        """What its scores are: labels, metrics and gates follow from it."""

    @property
    @abstractmethod
    def objective(self) -> str:
        """What it minimises, in the framework's own words."""

    @property
    @abstractmethod
    def rounds(self) -> int:
        """How often `fit` may tell that it has advanced."""

    @property
    def wants_held_out(self) -> bool:
        """Whether `fit` decides by rows that it does not learn from when to stop."""
        return False

    @abstractmethod
    def require(self, features: Sequence[str] = ()) -> None:
        """Raises UsageError for what cannot be trained, or not compiled exactly, and says what to
        write. Without `features` what speaks of single features is left for later."""

    @abstractmethod
    def described(self) -> Mapping[str, Any]:
        """All that is declared, as JSON has it: no path, nothing of the machine."""

    @abstractmethod
    def fit(
        self,
        features: Sequence[str],
        examples: Examples,
        held_out: Examples | None,
        progress: Progress,
    ) -> Native:
        """Train on `examples`, the same model each time. `held_out` is there if it is wanted."""

    def resized(self, rounds: int) -> Estimator:
        """The same with another number of rounds, for a try: `lockstep train --trees`."""
        raise UsageError(f"{self.name} has no number of trees to change", next="leave --trees out")


class Native(ABC):
    """A trained model, as its framework has it."""

    kind: ClassVar[str]
    """In the manifest, by which `lockstep verify` finds this class again."""
    reads: ClassVar[str]
    """Which files `recognises` knows, for people."""
    packages: ClassVar[tuple[str, ...]]
    """As the estimator's."""
    score_bound: ClassVar[float]
    """How far a compiled score may be from a native one. Margins may not differ in any bit."""

    @classmethod
    @abstractmethod
    def of(cls, model: object) -> Self | None:
        """A trained object of the library itself, for `compile_model` by hand; None if it is of
        another library. Raises UsageError for one that means another model than it says."""

    @classmethod
    @abstractmethod
    def recognises(cls, data: bytes) -> bool:
        """Whether a file is of this framework, by its content; the library is not asked."""

    @classmethod
    @abstractmethod
    def load(cls, data: bytes) -> Self:
        """What `file()` kept, or a user's file that is recognised. Never unpickles. Raises
        ModelRefused for what cannot be read or compiled: UsageError says that a library lacks."""

    @abstractmethod
    def file(self) -> NativeFile:
        """What is kept beside the compiled model: the same bytes for the same model."""

    @property
    @abstractmethod
    def about(self) -> Described:
        """What the manifest says of it."""

    @property
    @abstractmethod
    def gives(self) -> Gives:
        """As the estimator's."""

    @property
    @abstractmethod
    def feature_names(self) -> Sequence[str] | None:
        """The columns that it was trained on, in their order; None where it does not know."""

    @abstractmethod
    def require_features(self, features: Sequence[str]) -> None:
        """Raises UsageError for columns of other names, order or number than it has."""

    @abstractmethod
    def answers(self, matrix: Floats) -> Answers:
        """Its own scores and margins of float32[n, features]: NaN and infinity are answered too."""

    @abstractmethod
    def graph(self, matrix: Var) -> tuple[Var, Var]:
        """Its operators on float32[n, features]: margin and score, float32[n] each. Of the domains
        "" and ai.onnx.ml only; sums in the order in which the library adds.

        Today it must be trees: exactly one TreeEnsemble, which reads `matrix` itself, and margin
        and score of its total alone. A compiled model is cut in parts there."""

    @abstractmethod
    def cuts(self) -> Cuts:
        """Where its answers may jump, such as the thresholds of trees."""

    def summary(self) -> str:
        """For people, after training."""
        return f"{self.about.trees} trees"


def library(module: str, *, who: str, extra: str) -> Any:
    """Import a training library now. Raises UsageError naming the extra where it lacks."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(
            f"{who} needs the library {module}, which is not installed",
            next=f"uv sync --extra {extra}",
        ) from None


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for people, the first of them where there are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
