"""A use case's schema on the real Postgres, and short ways to fill it.

The conftest of each folder that needs them imports these fixtures.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import psycopg
import pyarrow as pa
import pytest
from psycopg.types.json import Jsonb

from lockstep.settings import Settings
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect, conninfo
from lockstep.warehouse.publish import Published, publish
from lockstep.warehouse.staging import Attempt, begin_attempt, finish_attempt, publish_id, stage

DAY = date(2013, 10, 1)
A, B = "a" * 64, "b" * 64


@dataclass
class House:
    """One migrated use case; connections opened through it are closed at the test's end."""

    settings: Settings
    use_case: str
    opened: list[psycopg.Connection] = field(default_factory=list)

    def connect(self, role: str = "scorer") -> psycopg.Connection:
        self.opened.append(connect(self.settings, role, self.use_case))
        return self.opened[-1]

    def conninfo(self, role: str = "scorer") -> str:
        return conninfo(self.settings, role, self.use_case)

    def approve(self, digest: str = A, version: int = 1) -> int:
        """Append an approval as the releaser; its sequence."""
        with connect(self.settings, "releaser", self.use_case) as conn:
            row = conn.execute(
                "insert into approvals (sequence, model_version, digest, reason, evidence)"
                " select coalesce(max(sequence), 0) + 1, %s, %s, 'a test', %s"
                " from approvals returning sequence",
                (version, digest, Jsonb(evidence(digest))),
            ).fetchone()
        return row[0]

    def begin(
        self,
        conn: psycopg.Connection,
        *,
        day: date = DAY,
        digest: str = A,
        inputs: str = "inputs",
        rows: int = 5,
        run_id: str = "run",
        approval: int = 1,
    ) -> Attempt:
        return begin_attempt(
            conn,
            day=day,
            publish_id=publish_id(self.use_case, day, digest, inputs),
            digest=digest,
            model_version=1 if digest == A else 2,
            approval=approval,
            input_fingerprint=inputs,
            input_rows=rows,
            run_id=run_id,
        )

    def staged(self, conn: psycopg.Connection, *, score: float = 0.5, **given: object) -> Attempt:
        """An attempt that is ready to be published."""
        attempt = self.begin(conn, **given)
        if not attempt.needs_scoring:
            return attempt
        stage(self.conninfo(), attempt, [scored(attempt.input_rows, score, attempt.day)])
        return finish_attempt(conn, attempt)

    def published(self, conn: psycopg.Connection, **given: object) -> Published:
        return publish(conn, self.staged(conn, **given))


def evidence(digest: str) -> dict[str, object]:
    """What an approval of `digest` must carry."""
    return {"certificate": {"digest": digest, "passed": True, "rows": 1, "says": "a test"}}


def day_table(parent: str, day: date) -> str:
    """The partition of predictions_batch or predictions_stream that holds a day."""
    return f"{parent}_{day:%Y%m%d}"


def scored(rows: int, score: float = 0.5, day: date = DAY, first: int = 0) -> pa.RecordBatch:
    """What a scoring task hands over: one event a second from midnight on."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    numbers = range(first, first + rows)
    return pa.record_batch(
        {
            "event_id": [f"event-{n}" for n in numbers],
            "event_time": pa.array(
                [midnight + timedelta(seconds=n) for n in numbers], pa.timestamp("us", "UTC")
            ),
            "entity": [f"entity-{n % 3}" for n in numbers],
            "score": pa.array([score] * rows, pa.float32()),
            "margin": pa.array([score - 1] * rows, pa.float32()),
        }
    )


@pytest.fixture(scope="module")
def use_case(warehouse_settings: Settings) -> str:
    """A fresh, migrated use case for each test module, with version 1 approved."""
    name = f"test_{uuid.uuid4().hex[:10]}"
    migrate.upgrade(warehouse_settings, name)
    House(warehouse_settings, name).approve()
    return name


@pytest.fixture
def house(warehouse_settings: Settings, use_case: str) -> Iterator[House]:
    house = House(warehouse_settings, use_case)
    yield house
    for conn in house.opened:
        conn.close()


@pytest.fixture
def fresh_house(warehouse_settings: Settings) -> Iterator[House]:
    """A schema of this test's own, with version 1 approved."""
    house = House(warehouse_settings, f"test_{uuid.uuid4().hex[:10]}")
    migrate.upgrade(house.settings, house.use_case)
    house.approve()
    yield house
    for conn in house.opened:
        conn.close()
