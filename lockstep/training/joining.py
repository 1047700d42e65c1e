"""Which outcome is whose: by id and by time.

1. an outcome belongs to the last event of its id that is not after it. An id that comes
   again is another event, with an outcome of its own
2. of several outcomes of an event the first counts
3. an event's outcome was known when it had happened and its record had become readable,
   whichever is later; what never was on Kafka was readable when it happened
4. an outcome that belongs to no event is from before the first event of its id: it is told,
   as it says that a clock or an id is wrong, and is nobody's label
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import Contract
from lockstep.lake import LANDED

__all__ = ["outcomes_of"]

Ints = np.ndarray[Any, np.dtype[np.int64]]


def outcomes_of(
    events: Contract, table: pa.Table, outcomes: Contract, truth: pa.Table
) -> tuple[Ints, Ints]:
    """For each event the row of its outcome, and how many microseconds later it was known.

    -1 for an event without outcome. Of an event whose id has an outcome from before it, and none
    that is its own: that outcome's row, and how many microseconds earlier it was, below 0.
    `truth` has `_available_at`.
    """
    rows = table.num_rows
    ids = pa.chunked_array(
        [*table[events.id].chunks, *truth[outcomes.id].chunks], table[events.id].type
    )
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    times = np.concatenate([_micros(table[events.time]), _micros(truth[outcomes.time])])
    outcome = np.arange(len(times)) >= rows
    # An outcome at the very time of its event comes after it.
    order = np.lexsort((outcome, times, codes))
    first = np.ones(len(order), bool)
    first[1:] = codes[order][1:] != codes[order][:-1]
    own = np.full(len(order), -1)
    own[:-1] = np.where(outcome[order][1:] & ~first[1:], order[1:], -1)
    # Events seen so far of the same id; none: the outcomes before this event are nobody's.
    events_before = np.cumsum(~outcome[order]) - ~outcome[order]
    events_before -= np.maximum.accumulate(np.where(first, events_before, 0))
    before = np.full(len(order), -1)
    before[1:] = np.where(~first[1:] & (events_before[1:] == 0), order[:-1], -1)
    found = np.empty(len(order), np.int64)
    found[order] = np.where(own >= 0, own, before)
    found = np.where(found[:rows] >= 0, found[:rows] - rows, -1)

    known_at = np.maximum(times[rows:], _micros(truth[LANDED.names[0]], times[rows:]))
    at, own_time = times[:rows], np.append(times[rows:], 0)[found]
    lag = np.where(own_time < at, own_time, np.append(known_at, 0)[found]) - at
    return found, np.where(found >= 0, lag, 0)


def _micros(column: pa.ChunkedArray, otherwise: Ints | None = None) -> Ints:
    whole = column.cast(pa.int64())
    if whole.null_count:
        whole = pc.coalesce(whole, pa.array(otherwise))
    return np.asarray(whole.to_numpy(), np.int64)
