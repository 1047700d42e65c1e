"""Training rows: each event with what became of it, by id, and nothing else."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import numpy as np
import pytest

from lockstep.errors import LakeError
from lockstep.lake import days, read_partition, write_partition
from lockstep.progress import Silent
from lockstep.training.dataset import label_days, read_rows
from lockstep.training.definition import Period
from models.flight_delay.model import MODEL
from tests.small_model import arrivals, departures

PERIOD = Period(date(2013, 1, 3), date(2013, 1, 6))


def read(lake: str, period: Period = PERIOD, label=MODEL.label):
    return read_rows(lake, departures(), arrivals(), label, period, Silent())


def test_labels_against_a_dictionary(tiny):
    rows = read(tiny.lake)
    delays = {}
    for day in days(tiny.lake, arrivals().source):
        table = read_partition(tiny.lake, arrivals(), day)
        delays |= dict(zip(*(table[n].to_pylist() for n in ("event_id", "arr_delay")), strict=True))
    events = [
        event
        for day in PERIOD.days()
        for event in read_partition(tiny.lake, departures(), day)["event_id"].to_pylist()
    ]
    known = [event for event in events if event in delays]
    assert rows.columns["event_id"].tolist() == known
    assert rows.label.tolist() == [float(delays[event] > 15) for event in known]
    assert rows.unknown == len(events) - len(known) > 0


def test_the_truth_may_be_known_after_the_period(tiny):
    found = label_days(tiny.lake, MODEL.label, arrivals().source, PERIOD)
    assert found[0] == PERIOD.start
    assert found[-1] == date(2013, 1, 7)
    late = read(tiny.lake, label=dataclasses.replace(MODEL.label, within=timedelta()))
    assert len(late) < len(read(tiny.lake))


def test_a_missing_day_is_named(tiny):
    with pytest.raises(LakeError, match="2013-06-01"):
        read(tiny.lake, Period(date(2013, 6, 1), date(2013, 6, 2)))


def test_no_event_has_an_outcome(tiny, tmp_path):
    day, lake = date(2013, 1, 3), str(tmp_path)
    events = read_partition(tiny.lake, departures(), day)
    others = read_partition(tiny.lake, arrivals(), date(2013, 1, 9))
    write_partition(lake, departures().source, day, "a", events)
    write_partition(lake, arrivals().source, day, "a", moved(others, day))
    with pytest.raises(LakeError, match=r"none of .* events in flight_departures has an outcome"):
        read(lake, Period(day, date(2013, 1, 4)))


def moved(table, day: date):
    """The table with all its events at one time of `day`."""
    import pyarrow as pa

    position = table.schema.get_field_index("arrived_at")
    type = table.schema.field(position).type
    at = pa.array(np.full(table.num_rows, (day - date(1970, 1, 1)).days * 86_400_000_000))
    return table.set_column(position, "arrived_at", at.cast(type))


def test_the_fingerprint_is_of_the_values(tiny):
    rows = read(tiny.lake)
    assert rows.fingerprint() == read(tiny.lake).fingerprint()
    label = rows.label.copy()
    label[0] = 1 - label[0]
    assert dataclasses.replace(rows, label=label).fingerprint() != rows.fingerprint()
    carrier = rows.columns["carrier"].copy()
    carrier[0] = "ZZ"
    other = dataclasses.replace(rows, columns={**rows.columns, "carrier": carrier})
    assert other.fingerprint() != rows.fingerprint()
