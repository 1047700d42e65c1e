"""A month on Kafka with everything going wrong, against what Spark makes of the landed lake."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from lockstep.audit.request import request_of
from lockstep.audit.run import audit_day
from lockstep.lake.spark_events import windowed_events
from lockstep.landing.run import land
from lockstep.spark.session import spark_session
from lockstep.warehouse.connect import connect
from streaming.replay import Recorded
from tests.small_model import REPOSITORY, departures, windows
from tests.streaming.deployment import Deployment, kill_midway
from tests.streaming.windowed import one_day, records_of, send, stored, with_trouble
from tests.until import until

pytestmark = pytest.mark.long

FIRST, LAST = date(2013, 1, 3), date(2013, 1, 31)


def windows_of_the_lake(lake: str, days: Sequence[date]) -> dict[str, bytes]:
    """Event id -> window values, by the batch execution."""
    with spark_session("month", "local[2]", left="nothing", next="nothing") as spark:
        found = windowed_events(spark, lake, departures(), windows(), days)
        table = found.select("event_id", "window_values").toArrow()
    values = table["window_values"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix = values.astype(np.float32).reshape(-1, len(windows()))
    return {
        name: row.tobytes() for name, row in zip(table["event_id"].to_pylist(), matrix, strict=True)
    }


def test_the_stream_is_the_batch(
    windowed_deployment: Deployment,
    january: str,
    tmp_path: Path,
) -> None:
    """Late and doubled records, a backlog of weeks, a kill, a second worker: 0 unexplained."""
    deployment = windowed_deployment
    records: list[Recorded] = with_trouble(records_of(deployment, january, FIRST, LAST))
    total = sum(1 for record in records if record.scored)
    end_of_backlog = len(records) * 9 // 10
    deployment.limit_batches(500)
    send(deployment, records[:end_of_backlog], backlog=True)

    backlog = [record.key for record in records[:end_of_backlog] if record.scored]
    kill_midway(deployment, 5_000, before=backlog[len(backlog) * 3 // 4])
    assert deployment.settled() < total * 0.9
    first, second = deployment.worker(), deployment.worker()
    until(lambda: second.page("health").get("partitions"), "the second has a partition")
    send(deployment, records[end_of_backlog:])
    assert first.drain() == 0
    until(lambda: deployment.settled() == total, "every event is settled")
    assert second.drain() == 0

    schemas = tmp_path / "schemas"
    schemas.mkdir()
    (schemas / deployment.use_case).symlink_to(REPOSITORY / "schemas/flight_delay")
    settings = deployment.settings.model_copy(update={"lake": str(tmp_path / "landed")})
    land(settings, deployment.pipeline, master="local[2]", schemas=schemas)
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    truth = windows_of_the_lake(settings.lake, days)
    rows = stored(deployment)
    asked_for = set(one_day(records))
    assert len(asked_for) > 20_000
    assert asked_for == set(truth)
    assert not [name for name in asked_for if rows[name][0] != truth[name]]
    assert not [name for name in asked_for if rows[name][2]]

    # What `lockstep audit` says of one of the days, and that it can say something else.
    report = audit_day(
        settings, request_of(deployment.pipeline, LAST, "equal"), master="local[2]"
    ).day
    assert (report.unexplained, report.incomplete) == (0, 0)
    assert report.equal == report.rows > 0
    assert report.late_events > 0
    with closing(connect(settings, "owner", deployment.use_case)) as connection:
        connection.execute(
            "update predictions_stream set window_values[1] = window_values[1] + 1"
            " where event_date = %s and event_id = %s",
            (LAST, next(name for name in asked_for if name.startswith("20130131"))),
        )
    report = audit_day(
        settings, request_of(deployment.pipeline, LAST, "altered"), master="local[2]"
    ).day
    assert report.unexplained == 1
