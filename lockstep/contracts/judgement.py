"""What counts: one judgement of a record, the same wherever it is read.

A record is an event's fields and `available_at`, when it became readable. The first that holds:

1. refused  it breaks the contract
2. refused  it came from Kafka without a timestamp: nobody can tell when it became readable
3. refused  its event time is more than `clock_skew` after `available_at`: a wrong clock
4. refused  its event time is more than `oldest` before `available_at`: too old for anybody
5. late     its event time is more than `lateness` before `available_at`
6. taken    all else

`available_at` is the timestamp of the Kafka record. What never was on Kafka, such as recorded
events that were loaded into the lake, became readable when it happened: its `available_at` is
its event time, so it is neither ahead nor late. Verdicts are properties of the record and of
the limits; no reader's clock and no reader's progress takes part.

What is refused is no event, for anybody: only records that are not refused are copies of each
other. So whoever counts an event once judges first, and then takes the first copy.

Who reads with which limits:

    worker, scored events     clock_skew: the narrowest of the deployment's and the windows';
                              lateness: stream.max_lateness_h. A late one is not scored live
    landing                   clock_skew: the deployment's; oldest: landing.max_age_d
    lake, scored events       clock_skew: the windows'. What is late for a worker counts here
    lake and worker, state    clock_skew, and lateness: the source's delay - clock_skew. A late
                              one is in no window, and neither are its copies

So records that became readable on n days have their events on at most n days, those that
`oldest` (of a worker `lateness`) reaches into before them, and those that `clock_skew` reaches
into after them: however wrong events are, they make no more day partitions than that. (Where
producers write the records' timestamps, `CreateTime`, n is theirs to choose.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lockstep.bisection import Rows, bisect
from lockstep.contracts.contract import Contract
from lockstep.contracts.decoding import Decoded, EventDecoder
from lockstep.contracts.recorded import ArrowDecoder

__all__ = [
    "NO_LIMITS",
    "NO_TIME",
    "Judge",
    "Judged",
    "Limits",
    "honest",
    "kind_of",
    "on_time",
    "readable_at",
]

_EVER = 2**62
NO_TIME = -(2**63)
"""The `available_at` of a Kafka record without a timestamp."""
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999: no clock shows more."""
_HOUR_US = 3_600_000_000
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?<!\w)-?\d[\d,.e+-]*\b")


@dataclass(frozen=True)
class Limits:
    """Microseconds between a record's event and its becoming readable. Bounds are inclusive."""

    clock_skew: int = _EVER
    lateness: int = _EVER
    oldest: int = _EVER


NO_LIMITS = Limits()
"""The contract alone."""


def honest(time: Any, available_at: Any, limits: Limits) -> Any:
    """Whether an event is not from a wrong clock: integers, arrays, or columns of Spark."""
    return time - available_at <= limits.clock_skew


def on_time(time: Any, available_at: Any, limits: Limits) -> Any:
    """Whether a record is not late: integers, arrays, or columns of Spark."""
    return available_at - time <= limits.lateness


def readable_at(stamps_ms: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """`available_at` of Kafka's timestamps; a negative one says that the record has none."""
    known = (stamps_ms >= 0) & (stamps_ms <= _LAST_MS)
    return np.where(known, np.where(known, stamps_ms, 0) * 1000, NO_TIME)


def kind_of(reason: str) -> str:
    """A reason without the values in it, so that reasons can be counted."""
    return _VALUES.sub("…", reason)


@dataclass(frozen=True, eq=False)
class Judged:
    """The records that are not refused, and why the others are. Arrays have a row for each."""

    kept: np.ndarray[Any, np.dtype[np.int64]]
    """Positions among the records that were given, growing."""
    columns: Mapping[str, Any]
    available_at: np.ndarray[Any, np.dtype[np.int64]]
    late: np.ndarray[Any, np.dtype[np.bool_]]
    refused: dict[int, str]
    """Position -> why it is no event."""

    def only(self, rows: np.ndarray[Any, Any]) -> Judged:
        """The same with some of the rows."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Judged(
            self.kept[rows], columns, self.available_at[rows], self.late[rows], self.refused
        )


class Judge:
    """Judges the records of one contract. Not for several threads at once."""

    def __init__(
        self, contract: Contract, limits: Limits = NO_LIMITS, *, max_bytes: int = _EVER
    ) -> None:
        self.contract, self.limits = contract, limits
        self._decoder = EventDecoder(contract, max_bytes=max_bytes)
        self._recorded = ArrowDecoder(contract)

    def records(self, values: Sequence[bytes | None], available_at: np.ndarray[Any, Any]) -> Judged:
        """Kafka's records: JSON values, and `readable_at` of their timestamps.

        Raises nothing that a record could cause: what judging one raises, whatever it is, is
        why that one is refused.
        """

        def judged(rows: Rows) -> Judged:
            given = [values[row] for row in rows.tolist()]
            decoded = self._decoder.decode(given)
            return self._judged(decoded, available_at[rows][np.asarray(decoded.kept, np.int64)])

        went, raising = bisect(len(values), judged)
        if not went:
            went = [(np.arange(0), judged(np.arange(0)))]
        refused = {rows[at]: why for rows, part in went for at, why in part.refused.items()}
        # Not what it says: that may hold a value which is sensitive.
        refused |= {row: f"cannot be judged: {type(e).__name__}" for row, e in raising.items()}
        parts = [part for _, part in went]
        return Judged(
            np.concatenate([rows[part.kept] for rows, part in went]),
            _joined([part.columns for part in parts]),
            np.concatenate([part.available_at for part in parts]),
            np.concatenate([part.late for part in parts]),
            {int(row): why for row, why in refused.items()},
        )

    def rows(
        self, batch: pa.RecordBatch | pa.Table, available_at: pa.Array | pa.ChunkedArray
    ) -> Judged:
        """The lake's rows. A null `available_at` says that a row never was on Kafka.

        Raises ContractError naming a column that is missing, of another type, or no text.
        """
        decoded = self._recorded.decode(batch)
        kept = np.asarray(decoded.kept, np.int64)
        times = decoded.columns[self.contract.time]
        given = available_at.cast(pa.int64()).take(pa.array(kept))
        loaded = given.is_null().to_numpy(zero_copy_only=False)
        available = np.where(loaded, times, given.fill_null(0).to_numpy())
        return self._judged(decoded, available)

    def why_late(self, judged: Judged, row: int) -> str:
        """Of a late row."""
        time, lateness = self.contract.time, self.limits.lateness
        by = int(judged.available_at[row]) - int(judged.columns[time][row])
        return (
            f"too late: {time} is {by / _HOUR_US:.1f} hours before its record's timestamp, more"
            f" than {lateness / _HOUR_US:g} hours"
        )

    def _judged(self, decoded: Decoded, available: np.ndarray[Any, Any]) -> Judged:
        limits, columns = self.limits, decoded.columns
        kept, refused = np.asarray(decoded.kept, np.int64), dict(decoded.rejected)
        times = columns[self.contract.time]
        stamped = available != NO_TIME
        since = np.where(stamped, available, times)
        good = stamped & honest(times, since, limits) & (since - times <= limits.oldest)
        if not good.all():
            for row in np.flatnonzero(~good).tolist():
                refused[int(kept[row])] = self._reason(int(times[row]), int(available[row]))
            kept, available, times = kept[good], available[good], times[good]
            columns = {name: column[good] for name, column in columns.items()}
        return Judged(kept, columns, available, ~on_time(times, available, limits), refused)

    def _reason(self, time: int, available_at: int) -> str:
        name, limits = self.contract.time, self.limits
        if available_at == NO_TIME:
            return "the record has no timestamp"
        if not honest(time, available_at, limits):
            return (
                f"wrong clock: {name} is {(time - available_at) / 1e6:.3f} s after its record's"
                f" timestamp, more than the clock skew of {limits.clock_skew / 1e6:g} s"
            )
        return (
            f"too old: {name} is {(available_at - time) / _HOUR_US / 24:.1f} days before its"
            f" record's timestamp, more than {limits.oldest / _HOUR_US / 24:g} days"
        )


def _joined(parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
