"""Whether the windows of a manifest can be computed at all, before anything computes one.

A declaration is checked where it is written, `lockstep.windows.declaration`. A file may have
been made or altered elsewhere, and every engine takes what it finds here for granted.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockstep.compiled_model.manifest import Manifest
from lockstep.contracts import Contract, Field, is_reserved
from lockstep.errors import ModelRefused, UsageError
from lockstep.windows.semantics import MOST_SCALE, Condition, StateSource, WindowSet, WindowSpec

__all__ = ["check_windows"]

_NUMBERS = ("number", "integer")
_KEYS = ("string", "integer")


def check_windows(manifest: Manifest, events: Contract) -> WindowSet:
    """The manifest's windows. Raises ModelRefused naming the window or the source and why."""
    try:
        windows = WindowSet(manifest.sources, manifest.windows)
    except (UsageError, TypeError, AttributeError) as error:
        raise ModelRefused(f"a state contract of the model cannot be read: {error}") from None
    for source in manifest.sources:
        for what in _wrong_with_source(source, windows, len(manifest.sources)):
            raise ModelRefused(f"the model's source {source.name!r} {what}")
    for position, window in enumerate(manifest.windows):
        taken = {*events.by_name, *windows.names[:position]}
        for what in _wrong_with(window, taken, events, windows):
            raise ModelRefused(f"the model's window {window.name!r} {what}")
    return windows


def _wrong_with_source(source: StateSource, windows: WindowSet, sources: int) -> Iterator[str]:
    if sources != len(windows.sources):
        yield "or another one is there twice"
    contract = windows.contracts[source.name]
    if contract.source != source.name:
        yield f"has the contract of {contract.source!r} ({contract.name})"
    if not 0 < source.clock_skew < source.delay:
        yield (
            f"has a delay of {source.delay} us, which is not above its clock skew of"
            f" {source.clock_skew} us"
        )
    if source.name not in {window.source for window in windows.windows}:
        yield "is read by no window"


def _wrong_with(
    window: WindowSpec, taken: set[str], events: Contract, windows: WindowSet
) -> Iterator[str]:
    contract = windows.contracts.get(window.source)
    if contract is None:
        known = ", ".join(windows.sources) or "none"
        yield f"reads {window.source!r}, which is none of the model's sources ({known})"
        return
    if is_reserved(window.name):
        yield "has the name of what a graph answers or holds"
    if window.name in taken:
        yield "has the name of a field or of another window"
    if window.hop <= 0 or window.over <= 0 or window.over % window.hop:
        yield f"is over {window.over} us, which is no multiple of its hop of {window.hop} us"
    if not 0 <= window.scale <= MOST_SCALE:
        yield f"has a scale of {window.scale}, not of 0 to {MOST_SCALE}"
    if window.value is None and (window.agg != "count" or window.minus is not None):
        yield f"has no value for its {window.agg}"
    if not window.by or len(set(window.by)) != len(window.by):
        yield f"is by {list(window.by)}, not by one field or several different ones"
    for name in window.by:
        kinds = {_kind(contract, name), _kind(events, name)}
        if len(kinds) != 1 or kinds.isdisjoint(_KEYS):
            yield (
                f"is by {name!r}, which is {_shown(events, name)} and {_shown(contract, name)},"
                " not a string or an integer in both"
            )
    for name in filter(None, (window.value, window.minus)):
        if _kind(contract, name) not in _NUMBERS:
            yield f"aggregates {name!r}, which is {_shown(contract, name)}, not a number"
        elif contract.by_name[name].sensitive and window.agg != "count":
            yield f"stores the {window.agg} of {name!r}, which is sensitive"
    for condition in window.where:
        field = contract.by_name.get(condition.field)
        if field is None or not _fits(condition, field):
            yield (
                f"asks whether {condition.field} {condition.operator} {condition.literal!r}, which"
                f" is {_shown(contract, condition.field)}"
            )


def _fits(condition: Condition, field: Field) -> bool:
    literal = condition.literal
    if condition.operator in ("is null", "is not null"):
        return literal is None
    if field.kind == "string":
        return isinstance(literal, str) and condition.operator in ("=", "!=")
    if field.kind == "number":
        return isinstance(literal, int | float)
    return isinstance(literal, int)


def _kind(contract: Contract, name: str) -> str:
    field = contract.by_name.get(name)
    return field.kind if field else "absent"


def _shown(contract: Contract, name: str) -> str:
    kind = _kind(contract, name)
    shown = "no field" if kind == "absent" else f"a field of type {kind}"
    return f"{shown} of {contract.name}"
