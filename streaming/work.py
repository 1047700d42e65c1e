"""A micro-batch on its way from the scoring half of a worker to its writing half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from confluent_kafka import Message

from lockstep.warehouse.micro_batch import MicroBatch
from streaming.dead_letters import DeadLetter, dead_letter
from streaming.model_refresh import Serving

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """A micro-batch on its way out."""

    batch: MicroBatch
    messages: Sequence[Message]
    """The record of each row."""
    serving: Serving
    dead: Sequence[DeadLetter]
    taken_at: float
    """time.perf_counter() when its events were in hand."""

    def without(self, batch: MicroBatch, refused: Mapping[int, str]) -> Work:
        """What is left to do: `batch` without these rows, which are dead: row -> why."""
        records = {(m.partition(), m.offset()): m for m in self.messages} if refused else {}
        dead = [
            dead_letter(records[int(batch.partitions[row]), int(batch.offsets[row])], why)
            for row, why in refused.items()
        ]
        kept = np.delete(np.arange(len(batch.ids)), list(refused))
        return replace(self, batch=batch.only(kept), dead=dead)
