"""What a certificate is measured again on: all recorded days of the test period, or none."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from lockstep.contracts import Columns
from lockstep.errors import LakeError
from lockstep.lake import write_partition
from lockstep.progress import Silent
from lockstep.settings import Settings
from lockstep.training.verification import recorded_columns
from lockstep.windows.semantics import NO_WINDOWS
from tests.training.test_joining import EVENTS, table

DAYS = [date(2013, 7, 1) + timedelta(days=n) for n in range(3)]


def recorded(lake: Path) -> Columns | None:
    settings = Settings.load().model_copy(update={"lake": str(lake)})
    return recorded_columns(settings, EVENTS, NO_WINDOWS, DAYS, Silent())


def test_a_day_without_events_is_recorded_and_a_day_without_folder_is_not(tmp_path: Path) -> None:
    write_partition(str(tmp_path), EVENTS.source, DAYS[0], "a", table(EVENTS, [("x", 0)]))
    write_partition(str(tmp_path), EVENTS.source, DAYS[1], "a", table(EVENTS, []))
    assert recorded(tmp_path) is None
    write_partition(
        str(tmp_path), EVENTS.source, DAYS[2], "a", table(EVENTS, [("x", 48 * 3_600_000_000)])
    )
    found = recorded(tmp_path)
    assert found is not None
    assert found["key"].tolist() == ["x", "x"]


def test_a_damaged_day_is_not_a_missing_one(tmp_path: Path) -> None:
    for day in DAYS:
        write_partition(str(tmp_path), EVENTS.source, day, "a", table(EVENTS, []))
    next(tmp_path.glob("**/date=2013-07-02/**/*.parquet")).write_bytes(b"no Parquet")
    with pytest.raises(LakeError, match="date=2013-07-02"):
        recorded(tmp_path)
