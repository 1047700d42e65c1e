"""What the worker waits for, and what it says meanwhile."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import psycopg
import pytest

from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from streaming import patience
from streaming.horizon import Horizon
from tests.streaming.deployment import REPOSITORY


def test_a_warehouse_that_is_hung_up_on_is_not_said_to_have_ended_it(
    approved: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_ANSWER_S", 0.1)
    with closing(connect(approved, "scorer", "flight_delay")) as connection:
        with (
            pytest.raises(psycopg.OperationalError, match="busy with one request") as raised,
            patience.answered(connection),
        ):
            connection.execute("select pg_sleep(60)")
        assert patience.waits_for(raised.value)
        assert connection.closed


def test_a_record_of_the_future_lets_no_state_of_now_be_forgotten() -> None:
    pipeline = Pipeline.load("flight_delay", REPOSITORY / "models")
    reader: Any = None  # nothing is asked
    horizon = Horizon(reader, pipeline)
    in_2100 = 4_102_444_800_000_000
    horizon.passed({0: in_2100})
    assert horizon.time is not None
    latest = time.time_ns() // 1000 + pipeline.stream.clock_skew_us
    assert horizon.time <= latest - pipeline.stream.max_lateness_us
