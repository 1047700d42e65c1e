"""What helps against an error that a service answers: the one question that all callers ask.

The tables that answer it: `lockstep.kafka.trouble` and `lockstep.warehouse.trouble`.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Trouble"]


class Trouble(Enum):
    """Every error of a service is one of three."""

    PASSING = "passing"
    """It helps to try again; nothing of ours has to change. A worker waits and says for what."""
    OWN = "the row's own"
    """One record or row of those that were sent brings it, again each time; the others can go."""
    FINAL = "final"
    """Neither helps: somebody must change something first."""
