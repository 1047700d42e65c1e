"""What the last minutes, hours and days of a wearer say. Declared; every engine computes it."""

from __future__ import annotations

from lockstep.windows import Source, Window

__all__ = ["WINDOWS"]

readings = Source("glucose_readings", delay="1min", clock_skew="5s")
outcomes = Source("glucose_outcomes", delay="1min", clock_skew="5s")


def _glucose(name: str, agg: str, over: str, hop: str, where: str | None = None) -> Window:
    value = None if agg == "count" else "glucose"
    return Window(
        name, readings, "wearer", agg, over=over, hop=hop, value=value, scale=0, where=where
    )


WINDOWS = (
    _glucose("previous", "last", over="10min", hop="1min"),
    _glucose("mean_15min", "mean", over="15min", hop="1min"),
    _glucose("mean_30min", "mean", over="30min", hop="1min"),
    _glucose("mean_1h", "mean", over="1h", hop="5min"),
    _glucose("min_1h", "min", over="1h", hop="5min"),
    _glucose("max_3h", "max", over="3h", hop="5min"),
    _glucose("mean_1d", "mean", over="1d", hop="1h"),
    _glucose("lows_1d", "count", over="1d", hop="1h", where="glucose < 70"),
    # How glucose went on at this hour of the day, in the week before.
    Window(
        "usual_change",
        outcomes,
        by=("wearer", "hour"),
        value="after - before",
        agg="mean",
        over="7d",
        hop="1h",
        scale=0,
    ),
)
