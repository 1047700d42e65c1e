"""Row features by NumPy, beside those of the graph: the same numbers, or no certificate.

The function of features.py is what its author saw in a notebook, so NumPy's numbers are the
features that were meant. The graph's must be the same float32, bit for bit, but for two things
that no tree sees: a NaN is a NaN, whichever of its bit patterns it has, and a zero is a zero,
whichever sign it has (ONNX Runtime's Where forgets that).

Arithmetic, comparison, look-up, rounding and square roots are exact everywhere. exp, log, powers
and trigonometry are not: each library has a polynomial of its own, and a last bit of a feature
that lies beside a threshold is another leaf.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockstep.compiled_model.parts import Matrix
from lockstep.compiling.asking import asking, lent
from lockstep.compiling.edges import spread
from lockstep.compiling.graph import Traced
from lockstep.contracts import Columns, Contract, model_inputs
from lockstep.errors import ModelRefused, UsageError

__all__ = ["Floats", "graph_features", "numpy_features", "require_own_rows", "same_features"]

Floats = np.ndarray[Any, np.dtype[np.float32]]
_AMONG, _ALONE = 1024, 8
_LONGEST = 40
_REASON = 200
_HIDDEN = "(sensitive)"


def graph_features(graph: Matrix, contract: Contract, columns: Columns, where: str) -> Floats:
    """The graph's float32[rows, features]. Raises ModelRefused naming a row of `where` that it
    fails on, as it would when it serves: a place outside of a table, for instance."""
    first, rows = 0, len(next(iter(columns.values())))
    try:
        return graph.read(columns)
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        reason = " ".join(str(error).split())[-_REASON:]
    while rows - first > 1:
        middle = (first + rows) // 2
        half = {name: column[first:middle] for name, column in columns.items()}
        try:
            graph.read(half)
        except Exception:
            rows = middle
        else:
            first = middle
    inputs = ", ".join(
        f"{name} is {_shown(contract, columns, name, first)}"
        for name in graph.names
        if columns[name].dtype.kind == "i"
    )
    raise ModelRefused(
        f"the features graph fails on row {first} of {where}{f', where {inputs}' if inputs else ''}"
        f": {reason}",
        left="nothing: no model was written",
        next="let features.py keep clear of it: xp.clip a place to those of its table",
    )


def same_features(traced: Traced, columns: Columns, matrix: Floats, where: str) -> Floats:
    """NumPy's own float32[rows, features] of raw columns whose `matrix` the graph made.

    Raises ModelRefused naming the first feature that differs, with its row of `where`, its inputs
    and both values, and UsageError for what NumPy makes no features of. Values of sensitive
    fields are not shown.
    """
    found = numpy_features(traced, columns)
    differ = _differ(found, matrix)
    positions = np.flatnonzero(differ.any(axis=0)).tolist()
    if not positions:
        return found
    name, rows = traced.names[positions[0]], np.flatnonzero(differ[:, positions[0]])
    row = int(rows[0])
    inputs = traced.inputs_of(name)
    shown = {given: _shown(traced.contract, columns, given, row) for given in inputs}
    hidden = any(value == _HIDDEN for value in shown.values())
    values = f"{found[row, positions[0]]} with NumPy and {matrix[row, positions[0]]} in the graph"
    others = [traced.names[position] for position in positions[1:]]
    raise ModelRefused(
        f"feature {name!r} is not the same with NumPy and in the graph: in row {row} of {where} it"
        f" is {'another' if hidden else values}, where"
        f" {', '.join(f'{given} is {value}' for given, value in shown.items())};"
        f" {len(rows):,} of {len(found):,} rows differ"
        + (f" (and in other features: {', '.join(others)})" if others else ""),
        left="nothing: no model was written",
        next="write it with operations that are exact everywhere: arithmetic, comparison,"
        " xp.where, lookup. Trees need no exp, log or power: they split x where they would split"
        " log(x)",
    )


def require_own_rows(traced: Traced, columns: Columns) -> None:
    """Ask for a few events' features among others and alone.

    Raises ModelRefused for a feature that depends on the events beside its own: a worker and a
    nightly run put other events there.
    """
    some = spread(columns, _AMONG)
    together = numpy_features(traced, some)
    for row in np.unique(np.linspace(0, len(together) - 1, _ALONE).astype(np.int64)).tolist():
        event = {name: column[row : row + 1] for name, column in some.items()}
        differ = _differ(numpy_features(traced, event), together[row : row + 1])[0]
        if differ.any():
            raise ModelRefused(
                f"feature {traced.names[int(differ.argmax())]!r} of an event depends on the events"
                " beside it: alone it is another",
                left="nothing: no model was written",
                next="let `fit` learn what the training rows have in common, a mean for instance,"
                " and let a window say what other events say",
            )


def numpy_features(traced: Traced, columns: Columns) -> Floats:
    """float32[rows, features] of raw columns, by the features function on NumPy's arrays.

    Raises UsageError where it raises, or where it makes other names, types or lengths than it
    made on symbols.
    """
    wanted = [*(field.name for field in traced.contract.fields), *traced.windows.names]
    event = model_inputs(columns, [name for name in wanted if name in columns])
    rows = len(next(iter(event.values())))
    with asking("the features function, on NumPy,"), np.errstate(all="ignore"):
        made = traced.function(lent(event), traced.fitted)
        names = tuple(made)
    if names != traced.names:
        raise UsageError(
            f"the features function makes the features {', '.join(map(str, names))} with NumPy,"
            f" and {', '.join(traced.names)} in the graph",
            next="make the same ones, in the same order, whatever the event's arrays are",
        )
    return np.stack([_column(name, made[name], rows) for name in names], axis=1)


def _differ(ours: Floats, theirs: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where they are not the same float32, as said above."""
    found: np.ndarray[Any, np.dtype[np.bool_]] = ours != theirs
    return found & ~(np.isnan(ours) & np.isnan(theirs))


def _column(name: str, value: Any, rows: int) -> Floats:
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 1:
        kind = (
            f"{value.dtype} of {value.ndim} dimensions"
            if isinstance(value, np.ndarray | np.generic)
            else f"a {type(value).__name__}"
        )
        raise UsageError(
            f"feature {name!r} is {kind} with NumPy, not a float32 array of one dimension as in"
            " the graph",
            next="end it with xp.astype(..., xp.float32) in the model's features.py",
        )
    if len(value) != rows:
        raise UsageError(f"feature {name!r} has {len(value)} rows with NumPy, of {rows} events")
    return value


def _shown(contract: Contract, columns: Columns, name: str, row: int) -> str:
    field = contract.by_name.get(name)
    if field is not None and field.sensitive:
        return _HIDDEN
    value: Any = columns[name][row]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
