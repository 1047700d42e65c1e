"""Every kind of native model: by its name in a manifest, by an object, by a file's content."""

from __future__ import annotations

from io import BytesIO
from pickletools import genops

from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators.protocol import Native
from lockstep.estimators.xgboost.native import XGBoostModel

__all__ = ["kind_of", "load_native", "native_of", "recognised"]

KNOWN: tuple[type[Native], ...] = (XGBoostModel,)


def load_native(kind: str, data: bytes) -> Native:
    """The native model beside a compiled one whose manifest says `kind`.

    Raises ModelRefused for one that cannot be read, and UsageError where its library lacks.
    """
    return kind_of(kind).load(data)


def kind_of(kind: str) -> type[Native]:
    """Native models of a kind. Raises ModelRefused for one that nobody here knows."""
    for known in KNOWN:
        if known.kind == kind:
            return known
    raise ModelRefused(
        f"the model's estimator is {kind!r}; this Lockstep knows"
        f" {', '.join(known.kind for known in KNOWN)}",
        next="verify it with the version that compiled it",
    )


def native_of(model: object) -> Native:
    """A native model that somebody has trained by hand. Raises UsageError for what is none."""
    if isinstance(model, Native):
        return model
    for known in KNOWN:
        found = known.of(model)
        if found is not None:
            return found
    raise UsageError(
        f"{type(model).__name__} is no trained model of {_listed()}",
        next="compile_model(native=xgboost.train(...), ...)",
    )


def recognised(data: bytes, name: str) -> Native:
    """The native model in a user's file, whatever it is called.

    Raises UsageError for a pickle, which nothing here opens, and for what no library here reads;
    ModelRefused for what a library does not read, or what cannot be compiled.
    """
    if _is_pickle(data):
        raise UsageError(
            f"{name} is a Python pickle: opening one runs whatever is written in it, so it is never"
            " opened",
            next=f"save the model in its library's own format: {_listed()}",
        )
    for known in KNOWN:
        if known.recognises(data):
            return known.load(data)
    raise UsageError(
        f"{name} ({len(data):,} bytes) is no model file that is understood",
        next=f"one of {_listed()}",
    )


def _listed() -> str:
    return "; ".join(known.reads for known in KNOWN)


def _is_pickle(data: bytes) -> bool:
    """Whether it reads as a pickle, from the first instruction to the last. Nothing is run."""
    # A protocol's number; the first two have none. Many a text has a full stop: a pickle ends
    # with it, and puts something there before.
    if data[:1] == b"\x80":
        return True
    try:
        pushed = False
        for code, _, at in genops(BytesIO(data)):
            if code.name == "STOP":
                return pushed and at == len(data) - 1
            pushed = pushed or bool(code.stack_after)
        return False
    except Exception:  # whatever a broken instruction raises
        return False
