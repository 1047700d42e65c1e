"""What the stream's ledger is told and tells: stretches of partitions, rows, and their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

__all__ = ["Answer", "Claim", "MicroBatch", "Span"]


@dataclass(frozen=True)
class Claim:
    """A partition as its newest owner found it."""

    partition: int
    next_offset: int
    """The first offset that has not been scored."""
    epoch: int
    produced_offset: int
    """Scored events of offsets below it are acknowledged by Kafka."""


@dataclass(frozen=True)
class Span:
    """The stretch of one partition that a micro-batch covers, dead letters included."""

    partition: int
    first: int
    next: int
    epoch: int


@dataclass(frozen=True)
class MicroBatch:
    """Scored events, a row each; `event_time` in microseconds since 1970."""

    spans: Sequence[Span]
    ids: Sequence[str]
    event_time: Any
    entity: Sequence[str]
    score: Any
    margin: Any
    partitions: Any
    offsets: Any
    approval: int
    produced: Mapping[int, int] = field(default_factory=dict)
    """Partition -> offset below which scored events have been acknowledged by now."""
    windows: Any = None
    """Window values, float32 [rows, windows], NaN allowed. None for a model without windows."""
    cut: Mapping[str, Sequence[int]] | None = None
    """State topic -> by partition, the offset up to which it had been read."""
    incomplete: Any = None
    """bool [rows], beside `windows`: scored without all that the row's windows see."""

    def only(self, rows: Any) -> MicroBatch:
        """The same stretch with these rows of it: their numbers, or a mask."""

        def of(column: Any) -> Any:
            return None if column is None else column[rows]

        numbers = np.arange(len(self.ids))[rows].tolist()
        return replace(
            self,
            ids=[self.ids[row] for row in numbers],
            entity=[self.entity[row] for row in numbers],
            event_time=self.event_time[rows],
            score=self.score[rows],
            margin=self.margin[rows],
            partitions=self.partitions[rows],
            offsets=self.offsets[rows],
            windows=of(self.windows),
            incomplete=of(self.incomplete),
        )


@dataclass(frozen=True)
class Answer:
    """The stored score of an event: what the scored topic may say, and nothing else."""

    event_id: str
    event_time: int
    score: float
    margin: float
    model_version: int
    model_digest: str
    partition: int
    incomplete: bool
