"""A landing that is killed before it is noted, and repeated: each record once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from lockstep.landing import run
from tests.landing import killed_landing
from tests.landing.conftest import DAY, Harbour, event
from tests.small_model import REPOSITORY

pytestmark = pytest.mark.long


@pytest.mark.parametrize("named", [True, False], ids=["landed", "control: appended"])
def test_a_run_that_is_killed_and_repeated_gives_each_record_once(
    harbour: Harbour, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    harbour.send([event(number) for number in range(20)])
    killed = [harbour.root, harbour.house.use_case, *(() if named else ("unnamed",))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.landing.killed_landing", *map(str, killed)],
        cwd=REPOSITORY,
        env=harbour.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 9, done.stderr
    assert harbour.stored().num_rows == 20, "it died after its files were written"
    assert harbour.query("select 1 from landings where topic = %s", harbour.topic) == []
    if not named:
        monkeypatch.setattr(run, "land_batches", killed_landing.appending)
        monkeypatch.setattr(run, "new_events", killed_landing.counted_as_new)
    harbour.send([event(number) for number in range(20, 30)])
    landing = harbour.land()
    # What the killed run had begun is done again, then what came since.
    assert (landing.topics[0].rows, landing.topics[0].epochs) == (30, 2)
    copies = Counter(
        zip(*(harbour.stored()[name].to_pylist() for name in ("_kafka_partition", "_kafka_offset")),
            strict=True)
    )  # fmt: skip
    assert len(copies) == 30
    assert sorted(copies.values()) == [1] * 30 if named else [1] * 10 + [2] * 20
    noted = harbour.query(
        "select event_date, sum(rows)::int from landings where topic = %s group by 1", harbour.topic
    )
    assert noted == [(DAY, 30)]
