"""From decoded events to their window values, with the honesty that batch and audit rely on.

Of a micro-batch whose events have been judged (`lockstep.contracts.judgement`), in this order:

1. State back to what the oldest event needs, then up to where its topics end now.
2. Rows whose state is not whole are marked incomplete: the bounded wait expired, or the log
   does not reach back so far.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.contracts import Columns
from lockstep.pipeline import Stream
from streaming.patience import patiently
from streaming.state import LiveState
from streaming.status import Status

__all__ = ["Refused", "Windowed", "state_at"]

Refused = dict[int, str]
"""Row -> why it is not scored."""


@dataclass(frozen=True)
class Windowed:
    """State as of a micro-batch: where it was read up to, and which rows it is not whole for."""

    state: LiveState
    cut: dict[str, list[int]]
    incomplete: np.ndarray[Any, np.dtype[np.bool_]]

    def values(self, columns: Columns, times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self.state.values(columns, times)


def state_at(
    state: LiveState,
    times: np.ndarray[Any, Any],
    horizon: int | None,
    limits: Stream,
    status: Status,
    give_up: threading.Event,
) -> tuple[Windowed, Refused]:
    """Bring the state to where events at `times` may be scored; and rows that nothing can help.

    `horizon` is the time of the oldest event that may still come: folding from there on spares
    folding again for each one that is a little older.
    """
    oldest = int(times.min())
    if horizon is not None:
        oldest = min(oldest, horizon)
    while True:
        patiently(lambda: state.serve_from(oldest), "kafka", status, give_up)
        ends = patiently(state.ends, "kafka", status, give_up)
        whole = state.catch_up(ends, limits.state_wait_ms / 1000)
        if state.folded:
            break
    gone = state.lost(times)
    refused = dict.fromkeys(
        np.flatnonzero(gone).tolist(),
        "too old: the state topics no longer hold what its windows see",
    )
    incomplete = ~state.reaches(times) if whole else np.ones(len(times), np.bool_)
    return Windowed(state, state.cut(), incomplete), refused
