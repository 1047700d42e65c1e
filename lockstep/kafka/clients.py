"""What every client of Kafka has in common."""

from __future__ import annotations

from typing import Any

__all__ = ["common"]


def common(kafka: str) -> dict[str, Any]:
    """The configuration that a confluent-kafka client starts from."""
    return {
        "bootstrap.servers": kafka,
        # A broker that hangs, or a connection of which only our end is left, is given up after
        # this: a minute by default, in which nobody could say what is wrong.
        "socket.timeout.ms": 10_000,
        "socket.keepalive.enable": True,
        # A broker that is back is found soon.
        "reconnect.backoff.max.ms": 1_000,
        # What matters is raised, or told to a callback.
        "log_level": 0,
    }
