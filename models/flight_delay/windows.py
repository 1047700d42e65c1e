"""What the last hours say about a departing flight. Declared here; every engine computes it.

Over departures: how busy the airport is. Over arrivals: how late the last flights came in, and
how many minutes they made up on their way. Delays are whole minutes, so no decimals count.

No window is longer than twelve hours: a day is scored from itself and the day before.
"""

from __future__ import annotations

from lockstep.windows import Source, Window

__all__ = ["WINDOWS"]

departures = Source("flight_departures", delay="1min", clock_skew="5s")
arrivals = Source("flight_arrivals", delay="1min", clock_skew="5s")

_HOP = "5min"
_LATE = "arr_delay"
_GAINED = "dep_delay - arr_delay"


def _busy(name: str, by: str, over: str) -> Window:
    return Window(name, departures, by=by, agg="count", over=over, hop=_HOP)


def _mean(name: str, by: str | tuple[str, ...], over: str, value: str) -> Window:
    return Window(name, arrivals, by=by, value=value, agg="mean", over=over, hop=_HOP, scale=0)


WINDOWS = (
    _busy("origin_departures_1h", by="origin", over="1h"),
    _busy("origin_departures_3h", by="origin", over="3h"),
    _mean("origin_delay_1h", by="origin", over="1h", value=_LATE),
    _mean("origin_delay_3h", by="origin", over="3h", value=_LATE),
    _mean("origin_gain_1h", by="origin", over="1h", value=_GAINED),
    Window("origin_arrivals_3h", arrivals, by="origin", agg="count", over="3h", hop=_HOP),
    _mean("dest_delay_3h", by="dest", over="3h", value=_LATE),
    _mean("dest_gain_3h", by="dest", over="3h", value=_GAINED),
    _mean("dest_gain_6h", by="dest", over="6h", value=_GAINED),
    _mean("carrier_delay_1h", by="carrier", over="1h", value=_LATE),
    _mean("carrier_delay_3h", by="carrier", over="3h", value=_LATE),
    _mean("carrier_gain_3h", by="carrier", over="3h", value=_GAINED),
    _mean("carrier_dest_gain_12h", by=("carrier", "dest"), over="12h", value=_GAINED),
    Window(
        "tail_last_delay_12h",
        arrivals,
        by="tailnum",
        value=_LATE,
        agg="last",
        over="12h",
        hop=_HOP,
        scale=0,
    ),
)
