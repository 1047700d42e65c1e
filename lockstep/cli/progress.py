"""Progress on a terminal: a line for what runs, a line for what is done. To stderr."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lockstep.cli.output import visible

__all__ = ["Steps"]


class Steps:
    """A lockstep.progress.Progress; silent when `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(file=sys.stderr, quiet=quiet, highlight=False, soft_wrap=True)
        self._bars: Progress | None = None
        self._task = TaskID(0)
        self._step = ""
        self._started = 0.0

    def start(self, step: str, total: int | None = None) -> None:
        self._close()
        self._step, self._started = step, time.monotonic()
        if not self._console.is_terminal:
            return
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%" if total else ""),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._bars.start()
        self._task = self._bars.add_task(step, total=total)

    def advance(self, amount: int = 1) -> None:
        if self._bars:
            self._bars.advance(self._task, amount)

    def finish(self, said: str) -> None:
        self._close()
        seconds = time.monotonic() - self._started
        line = visible(f"{seconds:6.1f} s  {self._step}: {said}")
        self._console.print(line, markup=False)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None
