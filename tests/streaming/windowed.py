"""Recorded flights as a replay sends them, and what their windows must be, by another way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from lockstep.contracts import EventDecoder
from lockstep.lake import write_partition
from lockstep.scoring import OnnxScorer
from lockstep.warehouse.connect import connect
from streaming.replay import Recorded, progress_bar, recorded, ship
from tests.batch_house import flights_of
from tests.small_model import arrivals, departures, flights, windowed_compiled, windows
from tests.streaming.deployment import Deployment
from tests.window_values import window_values

__all__ = [
    "HOUR",
    "USE_CASE",
    "Expected",
    "expected",
    "one_day",
    "records_of",
    "send",
    "stored",
    "with_trouble",
    "write_lake",
]

USE_CASE = "flight_windows"
HOUR = 3_600_000_000


def write_lake(lake: Path, first: date, last: date) -> str:
    """The flights of some days, departures and arrivals."""
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        write_partition(str(lake), departures().source, day, "history", flights_of(day))
        came = flights()[arrivals().source]
        at = pc.cast(came[arrivals().time], "date32")
        write_partition(
            str(lake), arrivals().source, day, "history", came.filter(pc.equal(at, day))
        )
    return str(lake)


def records_of(deployment: Deployment, lake: str, first: date, last: date) -> list[Recorded]:
    """What a replay of these days sends, the state before them included."""
    return recorded(lake, deployment.pipeline, windows(), first, last)


def one_day(records: Sequence[Recorded]) -> list[str]:
    """The ids of the events that were asked for."""
    return [record.key for record in records if record.scored and record.asked_for]


def with_trouble(records: Sequence[Recorded]) -> list[Recorded]:
    """One in a hundred late by hours, one in a hundred twice; in the order of the log."""
    draw, found = random.Random(1), []
    for record in records:
        if draw.random() < 0.01:
            record = record._replace(available_at=record.available_at + 2 * HOUR)
        found.append(record)
        if draw.random() < 0.01:
            found.append(record._replace(available_at=record.available_at + HOUR))
    return sorted(found)


def send(deployment: Deployment, records: Sequence[Recorded], *, backlog: bool = False) -> None:
    """As `lockstep replay` does."""
    ship(
        deployment.settings.kafka,
        deployment.pipeline,
        windows(),
        records,
        rate=None,
        backlog=backlog,
        bar=progress_bar(False),
    )


@dataclass(frozen=True)
class Expected:
    """Window values and answers as bytes, by event id."""

    windows: dict[str, bytes]
    answers: dict[str, bytes]


def expected(records: Sequence[Recorded]) -> Expected:
    """What every scored record must get, if `records` is all that there ever was."""
    made, columns = windows(), {}
    for source, contract in made.contracts.items():
        own = [r for r in records if r.scored == (source == departures().source)]
        first = {(r.key, r.time): r for r in reversed(own)}
        promise = made.sources[source].delay - made.sources[source].clock_skew
        counted = [r for r in first.values() if r.available_at <= r.time + promise]
        decoder = EventDecoder(contract, max_bytes=1 << 20)
        columns[source] = decoder.decode([r.value for r in counted]).columns
        if source == departures().source:
            everything = list(first.values())
            scored = decoder.decode([r.value for r in everything]).columns
    values = window_values(made, columns, scored, scored[departures().time])
    matrix = np.stack([values[name] for name in made.names], axis=1)
    scores = OnnxScorer(windowed_compiled(20, USE_CASE).model).score(scored, matrix)
    answers = np.stack([scores.score, scores.margin], axis=1)
    ids = scored[departures().id].tolist()
    return Expected(
        {name: row.tobytes() for name, row in zip(ids, matrix, strict=True)},
        {name: row.tobytes() for name, row in zip(ids, answers, strict=True)},
    )


def stored(deployment: Deployment) -> dict[str, tuple[bytes, bytes, bool]]:
    """Event id -> window values, answer (both as bytes) and whether the row is incomplete."""
    with closing(connect(deployment.settings, "analyst", deployment.use_case)) as connection:
        rows: list[Any] = (
            connection.cursor(binary=True)
            .execute(
                "select event_id, window_values, score, margin, incomplete from predictions"
                " where source = 'stream' and topic = %s",
                (deployment.events,),
            )
            .fetchall()
        )
    assert len({row[0] for row in rows}) == len(rows)
    return {
        name: (
            np.array(values, np.float32).tobytes(),
            np.array([score, margin], np.float32).tobytes(),
            incomplete,
        )
        for name, values, score, margin, incomplete in rows
    }
