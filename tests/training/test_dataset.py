"""Training rows: each event with what became of it, by id, and nothing else."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import numpy as np
import pytest

from lockstep.errors import LakeError
from lockstep.lake import days, read_partition, write_partition
from lockstep.progress import Silent
from lockstep.training.dataset import reached, read_rows
from lockstep.training.definition import Label, Period
from models.flight_delay.model import MODEL
from tests.small_model import arrivals, departures
from tests.training.test_joining import EVENTS, NOON, OUTCOMES, table

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
        found = reached(tiny.lake, arrivals().source, PERIOD, within)
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


def test_an_outcome_after_the_period_may_be_of_a_later_event(tmp_path):
    """An id that comes again on the next day takes its own outcome; the first one has none."""
    lake, first = small_lake(
        tmp_path,
        events=[("x", 10), ("y", 9), ("z", 11), ("x", 13), ("y", 13 + 24)],
        outcomes=[("x", 14), ("y", 12)],
    )
    found = read_rows(lake, EVENTS, OUTCOMES, HOURS, first, Silent())
    assert found.columns["key"].tolist() == ["y"]
    assert found.label.tolist() == [12.0]
    assert (found.unknown, found.early, found.late) == (2, 0, 0)


def test_a_late_outcome_is_counted_as_far_as_within_reaches_twice(tmp_path):
    """By the same rule as a timely one; what comes later still leaves its event unknown, and
    what a day further on holds is read by nobody."""
    day = 24
    lake, first = small_lake(
        tmp_path,
        events=[("a", 0), ("b", 0), ("c", 0), ("d", 0), ("d", 25)],
        outcomes=[("a", 1), ("b", 8), ("c", 3 * day), ("d", 26)],
    )
    broken = tmp_path / "outcomes/date=2013-07-05/batch=a"
    broken.mkdir(parents=True)
    (broken / "x.parquet").write_bytes(b"no Parquet")
    found = read_rows(lake, EVENTS, OUTCOMES, HOURS, first, Silent())
    assert found.counts() == {"rows": 1, "unknown": 2, "early": 0, "late": 1}


def test_that_all_outcomes_came_late_is_said(tmp_path):
    lake, first = small_lake(
        tmp_path, events=[("a", 5), ("b", 5)], outcomes=[("a", 11 + 2), ("b", 4)]
    )
    with pytest.raises(LakeError, match=r"1 were known before it; 1 came later") as told:
        read_rows(lake, EVENTS, OUTCOMES, HOURS, first, Silent())
    assert told.value.next == "a longer `within` of the label"


HOURS = Label(
    contract="outcomes.v1.json",
    fields=("at",),
    of=lambda outcomes: (outcomes["at"] - NOON) / 3_600_000_000,
    meaning="hours after noon",
    within=6 * HOUR,
)


def small_lake(path, events, outcomes) -> tuple[str, Period]:
    """Rows of id and hours after noon, each in its day; and the first day as a period."""
    first = date(2013, 7, 1)
    for contract, given in ((EVENTS, events), (OUTCOMES, outcomes)):
        rows = [(key, hours * 3_600_000_000) for key, hours in given]
        for number in {(12 + hours) // 24 for _, hours in given} | {0}:
            of_day = [row for row in rows if (row[1] // 3_600_000_000 + 12) // 24 == number]
            day = first + timedelta(days=number)
            write_partition(str(path), contract.source, day, "a", table(contract, of_day))
    return str(path), Period(first, first + timedelta(days=1))


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
