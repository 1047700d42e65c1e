"""How long work tells what it does, without knowing who listens."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """One step at a time: start, advance as often as wanted, finish."""

    def start(self, step: str, total: int | None = None) -> None:
        """A step begins; `total` when it is known how much there is to do."""
        ...

    def advance(self, amount: int = 1) -> None:
        """Some of it is done."""
        ...

    def finish(self, said: str) -> None:
        """The step ended; `said` is what came out of it."""
        ...


class Silent:
    """Nobody listens."""

    def start(self, step: str, total: int | None = None) -> None:
        pass

    def advance(self, amount: int = 1) -> None:
        pass

    def finish(self, said: str) -> None:
        pass
