"""The worker's process: signals first, then whatever takes time to import and to reach.

    python -m streaming.app USE_CASE [--port 6066] [--accept-loss]

SIGTERM and SIGINT drain it, at whatever moment they come, and its exit code is 0. A second one
ends it there and then.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Signals", "main"]

_STOP = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Whether this process was told to stop, and who wants to know."""

    def __init__(self) -> None:
        self.came = False
        self._stop: Callable[[], None] | None = None

    def heed(self) -> None:
        """From now on. They may have been held back until now: see `lockstep stream`."""
        for number in _STOP:
            signal.signal(number, self._take)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)

    def tell(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the first one comes, or now if it has come."""
        self._stop = stop
        if self.came:
            stop()

    def _take(self, number: int, _: Any) -> None:
        if self.came:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.came = True
        if self._stop is not None:
            self._stop()


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until it is told to stop. Exit code 0: drained; 1: failed; 2: wrong usage."""
    signals = Signals()
    signals.heed()
    parser = argparse.ArgumentParser(prog="python -m streaming.app", description=__doc__)
    parser.add_argument("use_case")
    parser.add_argument("--topic", help="read this events topic instead of the pipeline's")
    parser.add_argument("--port", type=int, default=6066, help="of the pages, on loopback")
    parser.add_argument("--accept-loss", action="store_true")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("lockstep.stream").setLevel("INFO")
    # Seconds, in which nothing else hears a signal.
    from streaming.host import host

    if signals.came:
        return 0
    return host(
        given.use_case,
        topic=given.topic,
        port=given.port,
        accept_loss=given.accept_loss,
        signals=signals,
    )


if __name__ == "__main__":
    sys.exit(main())
