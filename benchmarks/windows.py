"""Microseconds an event: state events folded and scored events answered, twelve windows.

    python -m benchmarks.windows [--quick] [--json FILE]

fold_query_N        fold of a state event + query of all 12 windows of a scored event, at N keys:
                    N tail numbers, N/10 destinations, N/100 origins, N/1000 carriers; 50 events/s
                    of each source, 15,000 in a hop of 5 minutes; beside what else can be had:
                    faust_hopping  stock hopping tables in memory, without their changelog
                    river          TimeRolling statistics (no hop, no late events)
fold_N, query_N     the two halves of it, for Lockstep
fold_query_N_each   the same with N keys in each of the four fields
fold_query_sparse   a year of 336,776 flights replayed: about 3 events in a hop
refold_1m           seconds to fold 1,000,000 state events in chunks of 65,536
bytes_per_cell_N    memory of cells and keys over live cells; bytes_per_key_N over live keys
bytes_per_event_N   memory of identities, by which copies are known, over the events they are of

Times are of the processor: all of it runs in one thread, and what else the machine does is not
counted. Each sample is a mean over a block of micro-batches, so that what is done now and then
(slabs that move, eviction) is in it. Columns are made just before they are folded, as a decoder
does.
River is measured where it can be imported: `uv run --with river python -m benchmarks.windows`.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.report import Report, arguments
from benchmarks.windows_beside import FaustHopping, RiverRolling
from lockstep.contracts import Contract
from lockstep.exits import ended
from lockstep.windows.declaration import Source, Window, bind
from lockstep.windows.online import OnlineWindows
from lockstep.windows.semantics import WindowSet

BATCH, CHUNK, BLOCK = 2048, 65_536, 8
START = 1_372_680_000_000_000
DENSE, SPARSE = 50.0, 336_776 / (365 * 86_400)
SHARES = {"tail": 1, "dest": 10, "origin": 100, "carrier": 1000}
NAMES = {1_000: "1k", 100_000: "100k", 1_000_000: "1m"}


def main() -> None:
    given = arguments(__doc__ or "")
    report = Report("windows")
    prefill = 200_000 if given.quick else 1_000_000
    blocks = 4 if given.quick else 12
    for keys, name in NAMES.items():
        dense(report, name, Flights(keys, DENSE), prefill, blocks)
        if keys == 100_000:
            flights = Flights(keys, DENSE, dict.fromkeys(SHARES, 1))
            dense(report, f"{name}_each", flights, prefill, blocks)
        for measure, value, unit in apart(keys, prefill):
            report.add(f"{measure}_{name}", "lockstep", [value], unit)
    sparse(report, 40_000 if given.quick else 336_776)
    for _ in range(1 if given.quick else 3):
        refold(report)
    beside(report, 300 if given.quick else 2_000)
    report.publish(given.json)


class Flights:
    """Departures and arrivals, evenly in time, of keys that are all equally likely."""

    def __init__(self, keys: int, rate: float, shares: dict[str, int] | None = None) -> None:
        self._rate = rate
        self._counts = {n: max(keys // of, 1) for n, of in (shares or SHARES).items()}
        self._random = np.random.default_rng(11)
        self._made = dict.fromkeys(("departures", "arrivals"), 0)

    def batch(self, source: str, rows: int) -> dict[str, Any]:
        """The next events of a source, as a decoder hands them over."""
        begin = self._made[source]
        self._made[source] += rows
        numbers = np.arange(begin, begin + rows)
        made: dict[str, Any] = {
            "event_id": _strings(f"flight-{number}" for number in numbers.tolist()),
            "at": START + (numbers * (1e6 / self._rate)).astype(np.int64),
            "delay": self._random.integers(-300, 3000, rows) / 10,
        }
        for name, count in self._counts.items():
            drawn = self._random.integers(0, count, rows).tolist()
            made[name] = _strings(f"{name[0]}{number:06d}" for number in drawn)
        return made


def twelve() -> WindowSet:
    """Twelve windows over departures and arrivals."""
    departures = Source("departures", "1min", "5s")
    arrivals = Source("arrivals", "1min", "5s")
    declared = [
        (arrivals, "origin", "mean", "1h"),
        (arrivals, "origin", "mean", "3h"),
        (departures, "origin", "mean", "1h"),
        (departures, "origin", "count", "1h"),
        (arrivals, "dest", "mean", "3h"),
        (arrivals, "dest", "count", "1h"),
        (departures, "dest", "count", "3h"),
        (arrivals, "carrier", "mean", "1h"),
        (arrivals, "carrier", "mean", "3h"),
        (departures, "carrier", "count", "1h"),
        (arrivals, "tail", "last", "12h"),
        (arrivals, "tail", "mean", "3h"),
    ]
    windows = [
        Window(f"{s.name}_{by}_{agg}_{over}", s, by, agg, over, "5min", "delay", 1)  # type: ignore[arg-type]
        for s, by, agg, over in declared
    ]
    return bind(windows, _contract("departures"), _contract)


def dense(report: Report, name: str, flights: Flights, prefill: int, blocks: int) -> None:
    """Live micro-batches after a refold."""
    online = filled(flights, prefill)
    whole, folds, queries = [], [], []
    for _ in range(blocks):
        fold, query = live(online, flights, BLOCK)
        whole.append(fold + query)
        folds.append(fold)
        queries.append(query)
    report.add(f"fold_query_{name}", "lockstep", whole, "µs/event")
    report.add(f"fold_{name}", "lockstep", folds, "µs/event")
    report.add(f"query_{name}", "lockstep", queries, "µs/event")
    say(f"{name}: {online.cells:,} cells of {online.keys:,} keys, {online.identities:,} events")


def sparse(report: Report, rows: int) -> None:
    """A year replayed: a micro-batch of 2,048 flights spans more than two days."""
    flights = Flights(4_000, SPARSE)
    online = OnlineWindows(twelve(), complete_from=START)
    samples = [sum(live(online, flights, BLOCK)) for _ in range(rows // (BATCH * BLOCK))]
    report.add("fold_query_sparse", "lockstep", samples, "µs/event")


def refold(report: Report) -> None:
    """Half of the events are departures, half arrivals."""
    flights, online, spent = Flights(100_000, DENSE), OnlineWindows(twelve(), complete_from=0), 0.0
    for source, columns in _chunks(flights, 1_000_000):
        spent += _timed(online.fold, source, columns, columns["at"])
    report.add("refold_1m", "lockstep", [spent], "s")


def live(online: OnlineWindows, flights: Flights, batches: int) -> tuple[float, float]:
    """Microseconds a state event, and a scored event, over some micro-batches."""
    folding = asking = 0.0
    for _ in range(batches):
        departed, arrived = (flights.batch(s, BATCH) for s in ("departures", "arrivals"))
        scored = {name: column.copy() for name, column in departed.items()}
        folding += _timed(online.fold, "departures", departed, departed["at"])
        folding += _timed(online.fold, "arrivals", arrived, arrived["at"])
        asking += _timed(online.values, scored, scored["at"])
        folding += _timed(online.evict, online.windows.needed_from(int(scored["at"][0])))
    rows = batches * BATCH
    return folding / (2 * rows) * 1e6, asking / rows * 1e6


def filled(flights: Flights, prefill: int) -> OnlineWindows:
    """State as a worker has it after a start."""
    online = OnlineWindows(twelve(), complete_from=START)
    for source, columns in _chunks(flights, prefill):
        online.fold(source, columns, columns["at"])
    return online


def apart(keys: int, prefill: int) -> list[tuple[str, float, str]]:
    """Memory, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        whole, without, online = pool.apply(_grown, (keys, prefill))
    return [
        ("bytes_per_cell", without / online["cells"], "B"),
        ("bytes_per_key", without / online["keys"], "B"),
        ("bytes_per_event", (whole - without) / online["identities"], "B"),
    ]


def beside(report: Report, rows: int) -> None:
    """The others, on the same events one by one, as they are used; fewer of them."""
    for kind in (FaustHopping, RiverRolling):
        missing = kind.missing()
        if missing:
            say(f"{kind.name} is left out: {missing}")
            continue
        for keys, name in NAMES.items():
            flights, other, samples = Flights(keys, DENSE), kind(twelve()), []
            for _ in range(3):
                state, scored = flights.batch("arrivals", rows), flights.batch("departures", rows)
                fold = _timed(other.fold, "arrivals", state) + _timed(
                    other.fold, "departures", scored
                )
                query = _timed(other.values, scored)
                samples.append((fold / 2 + query) / rows * 1e6)
            report.add(f"fold_query_{name}", kind.name, samples, "µs/event", "lockstep")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _grown(keys: int, prefill: int) -> tuple[int, int, dict[str, int]]:
    """Bytes of a filled state, bytes without its identities, and its sizes."""
    flights = Flights(keys, DENSE)
    tracemalloc.start()
    online = filled(flights, prefill)
    gc.collect()
    whole = tracemalloc.get_traced_memory()[0]
    sizes = {name: getattr(online, name) for name in ("cells", "keys", "identities")}
    online._identities.clear()
    gc.collect()
    return whole, tracemalloc.get_traced_memory()[0], sizes


def _chunks(flights: Flights, rows: int) -> Iterator[tuple[str, dict[str, Any]]]:
    while rows > 0:
        for source in ("departures", "arrivals"):
            taken = min(CHUNK, rows)
            yield source, flights.batch(source, taken)
            rows -= taken
            if not rows:
                return


def _timed(run: Callable[..., Any], *given: Any) -> float:
    started = time.process_time()
    run(*given)
    return time.process_time() - started


def _strings(values: Iterator[str]) -> np.ndarray[Any, Any]:
    return np.array(list(values), object)


def _contract(source: str) -> Contract:
    text = {"type": "string", "maxLength": 32}
    return Contract.from_document(
        {
            "x-lockstep": {
                **{"name": f"windows.{source}", "version": 1, "source": source},
                **{"id": "event_id", "time": "at", "entity": "tail"},
            },
            "properties": {
                "event_id": text,
                "at": {
                    **{"type": "integer", "x-unit": "timestamp-micros"},
                    **{"minimum": 0, "maximum": 4_102_444_800_000_000},
                },
                **dict.fromkeys(SHARES, text),
                "delay": {"type": ["number", "null"], "minimum": -1440, "maximum": 2880},
            },
            "required": ["event_id", "at", *SHARES, "delay"],
        }
    )


if __name__ == "__main__":
    sys.exit(ended(main))
