"""What a worker says of itself: conditions that must hold before it is ready, and counters.

Written by the worker's threads, read by the HTTP pages. A condition that does not hold says why.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Status"]

log = logging.getLogger("lockstep.stream")

STUCK_AFTER_S = 300.0
"""A worker that has not moved for so long is stuck: each of its waits says something before that.

Kafka's group gives up a member that has not polled for as long (max.poll.interval.ms).
"""


class Status:
    """Conditions by name (None: holds; otherwise why not) and the worker's metrics."""

    def __init__(self, use_case: str) -> None:
        self.use_case = use_case
        self.conditions: dict[str, str | None] = {
            "model": "not opened yet",
            "warehouse": "not connected yet",
            "kafka": "not connected yet",
            "partitions": "none assigned yet",
        }
        self._waiting: dict[str, dict[int, str]] = {}
        """Condition -> thread -> why that one waits: one that goes on does not speak for others."""
        self._lock = threading.RLock()  # a signal may come while it is held
        self.serving: dict[str, Any] = {}
        self.assigned: list[int] = []
        self.moved_at = time.monotonic()
        """When it last went round, or tried again what it waits for."""
        self.ended = False
        """Nothing is read, scored or written any more, and the process should have ended."""
        self.registry = CollectorRegistry()
        self.events = Counter(
            "lockstep_events", "Events taken from Kafka and settled", registry=self.registry
        )
        self.scored = Counter(
            "lockstep_scored", "Events answered with a score", registry=self.registry
        )
        self.copies = Counter(
            "lockstep_copies", "Events whose row existed already", registry=self.registry
        )
        self.dead = Counter(
            "lockstep_dead_letters", "Events sent to the dead letters", registry=self.registry
        )
        self.incomplete = Counter(
            "lockstep_incomplete",
            "Events scored without all of their windows' state",
            registry=self.registry,
        )
        self.state_events = Counter(
            "lockstep_state_events", "State events folded", registry=self.registry
        )
        self.state_late = Counter(
            "lockstep_state_late",
            "State events that came late and count in no window",
            registry=self.registry,
        )
        self.state_refused = Counter(
            "lockstep_state_refused",
            "State records that break their contract or their clock",
            registry=self.registry,
        )
        self.state_cells = Gauge(
            "lockstep_state_cells", "Buckets of window state in memory", registry=self.registry
        )
        self.state_keys = Gauge(
            "lockstep_state_keys", "Keys with window state in memory", registry=self.registry
        )
        self.waits = Counter(
            "lockstep_dependency_faults",
            "Times a dependency did not answer",
            ["dependency"],
            registry=self.registry,
        )
        self.kernels_distrusted = Counter(
            "lockstep_tree_kernels_distrusted",
            "Models opened whose tree kernel differed from ONNX Runtime, which took its place",
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "lockstep_batch_seconds",
            "From events in hand to their transaction's commit",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self.registry,
        )
        Gauge("lockstep_ready", "1 when ready", registry=self.registry).set_function(
            lambda: float(self.ready)
        )

    @property
    def ready(self) -> bool:
        return all(why is None for why in self.conditions.values())

    def moved(self) -> None:
        """A half of the worker went round, or has waited and tries again: neither is stuck.

        Not for threads that only look on: they would speak for halves that are.
        """
        self.moved_at = time.monotonic()

    @property
    def stuck(self) -> str | None:
        """Why nothing but a new process will help; None while it works, waits or drains."""
        if self.ended:
            return "it has ended"
        still_s = time.monotonic() - self.moved_at
        return f"nothing has moved for {still_s:.0f} s" if still_s > STUCK_AFTER_S else None

    def hold(self, name: str) -> None:
        """The condition holds, as far as this thread is concerned."""
        if self.conditions.get(name, "") is None:
            return
        with self._lock:
            others = self._waiting.setdefault(name, {})
            others.pop(threading.get_ident(), None)
            self.conditions[name] = next(iter(others.values()), None)
            if self.conditions[name] is None:
                log.info("%s: ok", name)

    def fail(self, name: str, why: str) -> None:
        """The condition does not hold for this thread; logged when that is news."""
        with self._lock:
            mine = self._waiting.setdefault(name, {})
            if mine.get(threading.get_ident()) != why:
                log.warning("%s: %s", name, why)
            mine[threading.get_ident()] = why
            self.conditions[name] = why

    def describe(self) -> dict[str, Any]:
        """The health page."""
        return {
            "use_case": self.use_case,
            "ready": self.ready,
            "stuck": self.stuck,
            "conditions": {name: why or "ok" for name, why in self.conditions.items()},
            "serving": self.serving,
            "partitions": self.assigned,
        }
