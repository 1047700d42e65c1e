"""A replay says beforehand that its events would be too late for everybody."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest

from lockstep.errors import UsageError
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from streaming.replay import replay
from tests.small_model import REPOSITORY


def test_a_replay_needs_the_records_own_times(tmp_path: Path) -> None:
    pipeline = Pipeline.load("flight_delay", REPOSITORY / "models")
    live = dataclasses.replace(
        pipeline, stream=dataclasses.replace(pipeline.stream, timestamps="LogAppendTime")
    )
    day = date(2013, 10, 1)
    with pytest.raises(UsageError, match="as late as they are old"):
        replay(Settings(home=tmp_path), live, day, day)
