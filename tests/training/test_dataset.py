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

HOUR = timedelta(hours=1)
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
    for within, last in ((timedelta(days=2), 7), (timedelta(days=1), 6), (HOUR, 6)):
        label = dataclasses.replace(MODEL.label, within=within)
        found = label_days(tiny.lake, label, arrivals().source, PERIOD)
        assert (found[0], found[-1]) == (PERIOD.start, date(2013, 1, last))


def test_what_is_known_too_late_or_before_is_no_label_and_counted_apart(tiny):
    """By event: an outcome within an hour counts, whatever day it falls into."""
    rows = read(tiny.lake)
    assert rows.early == rows.late == 0
    hasty = read(tiny.lake, label=dataclasses.replace(MODEL.label, within=HOUR))
    assert 0 < len(hasty) < len(rows)
    assert hasty.late == len(rows) - len(hasty)
    assert (hasty.unknown, hasty.early) == (rows.unknown, 0)
    came = dict(zip(*flown(tiny.lake), strict=True))
    assert all(came[event] <= 3_600_000_000 for event in hasty.columns["event_id"])
    assert "came later than within 1:00:00" in hasty.left_out(
        dataclasses.replace(MODEL.label, within=HOUR)
    )


def test_an_outcome_weeks_later_is_late_and_not_missing(tiny, tmp_path):
    day, lake = date(2013, 1, 3), str(tmp_path)
    events = read_partition(tiny.lake, departures(), day).slice(50)
    outcomes = read_partition(tiny.lake, arrivals(), day)
    known = np.isin(outcomes["event_id"].to_numpy(), events["event_id"].to_numpy())
    outcomes = outcomes.filter(known)
    write_partition(lake, departures().source, day, "a", events)
    for position, at in enumerate((day, date(2013, 2, 9), date(2012, 12, 31))):
        part = outcomes.slice(position * 100, 100)
        write_partition(lake, arrivals().source, at, "a", moved(part, at, 86_399_999_999))
    # A day that no training needs may be as it likes.
    broken = tmp_path / arrivals().source / "date=2013-03-01/batch=a"
    broken.mkdir(parents=True)
    (broken / "x.parquet").write_bytes(b"no Parquet")
    rows = read(lake, Period(day, date(2013, 1, 4)))
    # What is older than the period is not read: it is no outcome of these events.
    assert (len(rows), rows.late) == (100, 100)
    assert rows.unknown == len(events) - 200
    write_partition(lake, arrivals().source, day, "a", moved(outcomes.slice(0, 100), day))
    with pytest.raises(LakeError, match=r"100 were known before it; 100 came later"):
        read(lake, Period(day, date(2013, 1, 4)))


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


def flown(lake: str) -> tuple[list[str], list[int]]:
    """Events, and how many microseconds later each arrived."""
    import pyarrow as pa

    left, came = (
        pa.concat_tables(read_partition(lake, of, day) for day in days(lake, of.source))
        for of in (departures(), arrivals())
    )
    joined = came.select(["event_id", "arrived_at"]).join(
        left.select(["event_id", "departed_at"]), "event_id", join_type="inner"
    )
    at = {name: joined[name].cast(pa.int64()).to_numpy() for name in ("arrived_at", "departed_at")}
    return joined["event_id"].to_pylist(), (at["arrived_at"] - at["departed_at"]).tolist()


def moved(table, day: date, into: int = 0):
    """The table with all its events at one time of `day`, `into` microseconds after its begin."""
    import pyarrow as pa

    position = table.schema.get_field_index("arrived_at")
    type = table.schema.field(position).type
    at = pa.array(np.full(table.num_rows, (day - date(1970, 1, 1)).days * 86_400_000_000 + into))
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
