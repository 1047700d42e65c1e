"""How a worker judges Kafka's records: `lockstep.contracts.judgement` with the deployment's limits.

Whether a model has windows makes no difference to which events are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from lockstep.contracts import Contract, Judge, Limits, readable_at
from lockstep.pipeline import Stream
from lockstep.windows.semantics import WindowSet

__all__ = ["available_at", "judge_of_scored", "judge_of_state"]


def judge_of_scored(stream: Stream, contract: Contract, windows: WindowSet) -> Judge:
    """For the events that are scored."""
    skew = min(stream.clock_skew_us, windows.limits.clock_skew)
    limits = Limits(skew, stream.max_lateness_us)
    return Judge(contract, limits, max_bytes=stream.max_value_bytes)


def judge_of_state(stream: Stream, windows: WindowSet, source: str) -> Judge:
    """For the state events of one source."""
    contract, limits = windows.contracts[source], windows.sources[source].limits
    return Judge(contract, limits, max_bytes=stream.max_value_bytes)


def available_at(messages: Sequence[Message]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When each record became readable, microseconds."""
    stamps = (message.timestamp() for message in messages)
    known = (-1 if kind == TIMESTAMP_NOT_AVAILABLE else ms for kind, ms in stamps)
    return readable_at(np.fromiter(known, np.int64, len(messages)))
