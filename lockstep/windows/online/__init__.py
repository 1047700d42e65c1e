"""Windows in memory: sorted cells of key and hop with prefix sums, asked at any as-of time."""

from lockstep.windows.online.engine import Folded, OnlineWindows

__all__ = ["Folded", "OnlineWindows"]
