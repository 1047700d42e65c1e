"""A day that is scored by a model with windows: what it reads, refuses and publishes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from lockstep.contracts import Contract
from lockstep.errors import LakeError
from lockstep.estimators.xgboost import XGBoostModel
from lockstep.lake import write_partition
from lockstep.registry.register import register
from lockstep.scoring import OnnxScorer
from tests.batch_house import BatchHouse
from tests.small_model import (
    arrivals,
    columns,
    departures,
    flights,
    some,
    windowed_booster,
    windowed_compiled,
    windows_of,
)

_DAY = 86_400_000_000


def rows_of(table: pa.Table, contract: Contract, day: date) -> slice:
    """The rows of one UTC day: flights are in order of event time."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    times = table[contract.time].cast(pa.int64()).to_numpy()
    return slice(*np.searchsorted(times, [start, start + _DAY]).tolist())


def load(house: BatchHouse, contract: Contract, day: date, batch: str = "history") -> None:
    table = flights()[contract.source]
    rows = rows_of(table, contract, day)
    part = table.slice(rows.start, rows.stop - rows.start)
    write_partition(house.settings.lake, contract.source, day, batch, part)


def test_a_day_is_published_with_what_its_windows_say(batch_house: BatchHouse) -> None:
    house, before = batch_house, batch_house.day - timedelta(days=1)
    made = windowed_compiled(20, house.use_case)
    version = register(
        house.settings,
        made.model,
        made.certificate,
        native=XGBoostModel(windowed_booster(20)).file(),
        fingerprint="windows",
    )
    house.approve(version.version)

    # A day of state that is missing is no empty day: nothing may be scored from it.
    load(house, departures(), house.day)
    load(house, departures(), before)
    load(house, arrivals(), house.day)
    with pytest.raises(LakeError, match=f"see {arrivals().source}/date={before}"):
        house.run("resolve_model", "check_events")

    load(house, arrivals(), before)
    first = house.run()
    rows = rows_of(flights()[departures().source], departures(), house.day)
    values = windows_of(rows)
    scores = OnnxScorer(made.model).score(some(rows), values)
    stored = house.query(
        "select event_id, float4send(score), float4send(margin), window_values"
        " from predictions_batch where event_date = %s order by event_time, event_id",
        house.day,
    )
    order = np.lexsort((columns()["event_id"][rows], columns()["departed_at"][rows]))
    assert [row[0] for row in stored] == columns()["event_id"][rows][order].tolist()
    assert [row[1] for row in stored] == [bytes(v) for v in _bits(scores.score[order])]
    assert [row[2] for row in stored] == [bytes(v) for v in _bits(scores.margin[order])]
    found = np.array([row[3] for row in stored], np.float32)
    np.testing.assert_array_equal(found, values[order])
    assert np.isnan(found).any()
    assert (found != np.nan_to_num(found[0])).any()

    # Late state is another input, so it makes another publish; two days ago matters to nobody.
    load(house, arrivals(), before - timedelta(days=1))
    again = house.run("resolve_model", "check_events")
    assert again[1].facts.published
    load(house, arrivals(), before, "late")
    again = house.run("resolve_model", "check_events")
    assert not again[1].facts.published
    assert again[1].facts.publish_id != first[1].facts.publish_id


def _bits(scores: np.ndarray) -> np.ndarray:
    return scores.astype(">f4").view("V4")
