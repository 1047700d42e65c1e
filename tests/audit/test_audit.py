"""The audit of a day against a real warehouse and Spark: what it calls equal, and what not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs import audit_windows
from lockstep.audit.report import as_document, render
from lockstep.audit.request import encode
from lockstep.audit.run import audit_day, require_explained
from lockstep.contracts import columns_from_arrow
from lockstep.errors import CheckFailed, LakeError, UsageError
from lockstep.exits import WRONG_USAGE
from lockstep.lake import LANDED, write_partition
from lockstep.warehouse.connect import connect
from lockstep.warehouse.landings import Landed, record
from lockstep.windows.reference import window_values as slow_values
from tests.audit.conftest import DAY, AuditHouse
from tests.small_model import departures, windows

NAMES = windows().names


def by_window(report) -> dict[str, tuple[int, int, int]]:
    return {w.window: (w.equal, w.incomplete, w.unexplained) for w in report.day.windows}


def test_a_worker_that_agrees(house: AuditHouse) -> None:
    """Late arrivals and copies in the lake, and still nothing is unexplained."""
    house.stream(house.values)
    report = house.audit()
    rows = len(house.values)
    assert by_window(report) == dict.fromkeys(NAMES, (rows, 0, 0)), render(report)
    changed = (house.values.view(np.uint32) != house.late.view(np.uint32)) & ~(
        np.isnan(house.values) & np.isnan(house.late)
    )
    assert changed.any()
    assert {w.window: w.late_changed for w in report.day.windows} == dict(
        zip(NAMES, changed.sum(axis=0).tolist(), strict=True)
    )
    assert report.late_events == house.late_events
    assert (report.day.late_events, report.day.late_changed) == (
        sum(house.late_events.values()),
        changed.any(axis=1).sum(),
    )
    assert (report.day.equal, report.day.unexplained, report.day.missing) == (rows, 0, 0)
    require_explained(report)
    assert f"{rows:,} used window values that the lake gives" in render(report)


def test_an_altered_value_is_found_by_the_command(house: AuditHouse) -> None:
    """The command fails, says which event it is, and has stored the audit before."""
    values = house.values.copy()
    row = int(np.flatnonzero(~np.isnan(values[:, 1]))[7])
    values[row, 1] = np.nextafter(values[row, 1], np.float32(np.inf))
    house.stream(values)
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from lockstep.cli import main; main()"),
            *("audit", house.use_case, "--partition", str(DAY), "--topic", house.topic, "--json"),
        ],
        cwd=house.root,
        env=house.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    event = house.scored["event_id"][row].as_py()
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["kind"] == "CheckFailed"
    assert f"1 of {len(values):,} predictions" in told["error"]
    assert event in told["error"]
    facts = json.loads(done.stdout)
    assert (facts["equal"], facts["unexplained"]) == (len(values) - 1, 1)
    seen = house.query(
        "select window_name, model_version, rows, equal, unexplained, largest_difference, examples"
        " from window_audits where topic = %s and unexplained > 0",
        house.topic,
        role="analyst",
    )
    stored, right = values[row, 1], house.values[row, 1]
    ((*counts, apart, (example, *_)),) = seen
    assert counts == [NAMES[1], 1, len(values), len(values) - 1, 1]
    assert apart == float(stored) - float(right)
    assert (example["kind"], example["event_id"], example["reason"]) == (
        "unexplained",
        event,
        "differs",
    )
    assert (np.float32(example["stored"]), np.float32(example["recomputed"])) == (stored, right)


@pytest.mark.long
def test_rows_whose_wait_expired_are_explained_by_their_cut(house: AuditHouse) -> None:
    """One of them has another value than its cut gives, and one has no mark at all."""
    cuts = [house.ends(0.1), house.ends(0.6)]
    values = house.values.copy()
    marked = list(range(700, 712))
    for row in marked:
        values[row] = house.at(cuts[row % 2], row)
    differs = (values != house.values) & ~(np.isnan(values) & np.isnan(house.values))
    assert differs[marked].any(axis=1).all()
    wrong, unmarked = marked[3], marked[4]
    values[wrong, 0] += 1
    house.stream(values[: marked[0]])
    for row in marked:
        flag = np.array([row != unmarked])
        house.stream(values[row : row + 1], first=row, incomplete=flag, cut=cuts[row % 2])
    house.stream(values[marked[-1] + 1 :], first=marked[-1] + 1)
    report = house.audit()
    day = report.day
    assert (day.incomplete, day.unexplained) == (len(marked) - 2, 2), render(report)
    assert day.equal == len(values) - len(marked)
    explained = differs.copy()
    explained[[wrong, unmarked]] = False
    for position, found in enumerate(day.windows):
        explained_too = explained[:, position].sum() + (position > 0 and differs[wrong, position])
        assert found.incomplete == explained_too
    example = next(e for w in day.windows for e in w.examples if e["kind"] == "incomplete")
    assert example["stored"] == example["at_cut"] != example["recomputed"]
    with pytest.raises(CheckFailed, match=f"2 of {len(values):,} predictions"):
        require_explained(report)


@pytest.mark.long
def test_a_row_is_held_to_the_copy_that_was_scored(house: AuditHouse, tmp_path) -> None:
    """Of an event with two copies the worker read the second first: nothing is unexplained, and
    the event is told, with both places."""
    row, place = 3, (1, 900_000)
    again = house.scored.slice(row, 1)
    other = "LGA" if again["origin"][0].as_py() != "LGA" else "JFK"
    position = again.schema.get_field_index("origin")
    again = again.set_column(position, again.schema.field("origin"), pa.array([other]))
    lake = tmp_path / "lake"
    shutil.copytree(house.settings.lake, lake)
    copy = again
    for field, value in zip(LANDED, (again["departed_at"][0].as_py(), *place), strict=True):
        copy = copy.append_column(field, pa.array([value], field.type))
    write_partition(str(lake), departures().source, DAY, "again", copy)

    columns = columns_from_arrow(departures(), again)
    event = {name: column[0] or None for name, column in columns.items()}
    seen = slow_values(windows(), house.records, int(columns["departed_at"][0]), event)
    values = np.array([seen], np.float32)
    assert not np.array_equal(values[0], house.values[row], equal_nan=True)
    house.stream(house.values[:row])
    house.stream(values, first=row, place=place)
    settings = house.settings.model_copy(update={"lake": str(lake)})
    report = audit_day(settings, house.request(), spark=house.spark)
    assert (report.day.equal, report.day.unexplained, report.day.conflicting) == (4, 0, 1)
    (example,) = report.day.examples
    assert (example["kind"], example["scored"]) == ("conflicting copies", list(place))
    assert len(example["copies"]) == 2
    assert list(place) in example["copies"]
    require_explained(report)
    assert "1 of these events have conflicting copies in the lake" in render(report)
    told = house.query("select conflicting from audits where topic = %s", house.topic)
    assert told == [(1,)]


@pytest.mark.long
def test_what_is_missing_is_unexplained_in_each_audit(house: AuditHouse) -> None:
    """An event that is not in the lake, a row without window values; analysts see the newest."""
    house.stream(house.values[:2])
    house.stream(house.values[2:3], first=2, ids=["nobody knows it"])
    first = house.audit()
    assert (first.day.equal, first.day.unexplained, first.day.missing) == (2, 1, 1)
    assert first.day.examples[0]["event_id"] == "nobody knows it"
    with pytest.raises(CheckFailed, match=f"lockstep land {house.use_case}"):
        require_explained(first)

    house.stream(None, first=3, ids=[house.scored["event_id"][3].as_py()])
    second = house.audit()
    assert (second.day.equal, second.day.unexplained, second.day.missing) == (2, 2, 1)
    for found in second.day.windows:
        reasons = {example["reason"] for example in found.examples if "reason" in example}
        assert reasons == {"missing in the lake", "no window values were stored"}
    with pytest.raises(CheckFailed, match="lockstep query") as raised:
        require_explained(second)
    # The lake of this test was not filled by landings, and that is said.
    unlanded = f"{house.topic}: nothing of {DAY} has landed (nor of another day)"
    assert unlanded in raised.value.message
    assert unlanded in render(second)

    before = Landed(house.topic, "flight_departures", DAY - timedelta(days=1), 7, fresh=7)
    with connect(house.settings, "scorer", house.use_case) as connection:
        record(connection, f"landed {house.topic}", [before])
    third = house.audit()
    with pytest.raises(CheckFailed, match=f"lockstep land {house.use_case}") as raised:
        require_explained(third)
    assert f"the newest day is {before.day}" in raised.value.message
    assert as_document(third)["landed"][0]["newest_day"] == before.day

    seen = house.query(
        "select distinct audit_id, run_id, event_date from window_audits where topic = %s",
        house.topic,
        role="analyst",
    )
    assert first.audit_id < second.audit_id < third.audit_id
    assert seen == [(third.audit_id, third.day.run_id, DAY)]
    assert len(house.query("select 1 from audits where topic = %s", house.topic)) == 3


def test_a_day_without_stream_rows_says_so(house: AuditHouse) -> None:
    with pytest.raises(UsageError, match="nothing to audit") as refused:
        house.audit()
    assert "next: lockstep" in str(refused.value)
    with pytest.raises(UsageError, match="no stream scored an event of 2012-01-01"):
        audit_day(house.settings, house.request(DAY.replace(year=2012, month=1, day=1)))
    assert house.query("select 1 from audits where topic = %s", house.topic) == []


@pytest.mark.long
def test_the_job_tells_wrong_usage_where_there_is_nothing_to_audit(
    house: AuditHouse, monkeypatch, capsys
) -> None:
    for name, value in house.environment().items():
        monkeypatch.setenv(name, value)
    for text, said in ((encode(house.request()), "nothing to audit"), ("{}", "no request")):
        monkeypatch.setattr(sys, "argv", ["audit_windows.py", "--request", text])
        assert audit_windows.main() == WRONG_USAGE
        assert said in capsys.readouterr().err


@pytest.mark.long
def test_a_lake_without_the_day_says_how_to_land_it(house: AuditHouse, tmp_path) -> None:
    house.stream(house.values[:2])
    empty = house.settings.model_copy(update={"lake": str(tmp_path)})
    with pytest.raises(LakeError, match=f"lockstep land {house.use_case}") as raised:
        audit_day(empty, house.request(), spark=house.spark)
    assert f"{house.topic}: nothing of {DAY} has landed" in raised.value.message
