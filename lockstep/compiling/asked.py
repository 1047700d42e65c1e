"""The events that a certificate asks for, and their features as the native model is given them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.compiled_model.manifest import Input
from lockstep.compiled_model.parts import Matrix
from lockstep.compiling.edges import edge_columns, spread
from lockstep.compiling.graph import Traced
from lockstep.compiling.same_features import Floats, graph_features, same_features
from lockstep.contracts import Columns, Contract
from lockstep.estimators.protocol import Cuts
from lockstep.windows.semantics import WindowSet

__all__ = ["EDGE_EVENTS", "Asked", "asked_events"]

EDGE_EVENTS = 20_000
"""Half of them within the contract."""
_BEYOND = "beyond_contract"
_SEEN = 8192


@dataclass(frozen=True, eq=False)
class Asked:
    """A set of events, by its name in the certificate."""

    name: str
    columns: Columns
    matrix: Floats
    """The features that the native model is given."""
    features_differ: int | None
    """Rows whose features differ between NumPy and the graph; None where nobody compared."""


def asked_events(
    contract: Contract,
    inputs: Sequence[Input],
    windows: WindowSet,
    graph: Matrix,
    cuts: Cuts,
    validation: Columns,
    traced: Traced | None = None,
) -> list[Asked]:
    """Recorded events, and edge events within the contract and beyond it.

    Features are NumPy's for events that the contract allows, which raises ModelRefused where the
    graph's are others; the graph's beyond it, and where nobody has `traced` the features function.
    """
    seen, half = spread(validation, _SEEN), EDGE_EVENTS // 2

    def edges(*, within: bool) -> Columns:
        drawn = edge_columns(contract, inputs, windows, cuts, seen, half, within=within)
        # A function may read a field that nothing of the graph depends on.
        return {name: np.resize(column, half) for name, column in seen.items()} | drawn

    events = {
        "validation": validation,
        "edge_events": edges(within=True),
        _BEYOND: edges(within=False),
    }
    asked = []
    for name, columns in events.items():
        matrix = graph_features(graph, contract, columns, name)
        if traced is None or name == _BEYOND:
            asked.append(Asked(name, columns, matrix, None))
        else:
            asked.append(Asked(name, columns, same_features(traced, columns, matrix, name), 0))
    return asked
