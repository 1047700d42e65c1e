"""A use case of two kinds of events, with topics, a lake and a real broker for each test."""

from __future__ import annotations

import itertools
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer

from lockstep.lake import LANDED
from lockstep.landing.run import Landing, land
from lockstep.local.kafka.broker import Kafka
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from tests.house import House

DAY = date(2013, 10, 1)
NOON = datetime(2013, 10, 1, 12, tzinfo=UTC)
PARTITIONS = 2
_NUMBERS = itertools.count()

PIPELINE = """\
use_case = "{name}"
lake_table = "readings"
[topics]
events = "{topic}"
scored = "{topic}.scored"
dead_letters = "{topic}.dead_letters"
control = "{topic}.control"
partitions = {partitions}
[batch]
start = 2013-01-01
[stream]
timestamps = "CreateTime"
max_value_bytes = 1000
[state]
alarms = "{topic}.alarms"
[landing]
schedule = "*/15 * * * *"
"""


def contract(source: str) -> dict[str, Any]:
    return {
        "x-lockstep": {
            **{"name": source, "version": 1, "source": source},
            **{"id": "id", "time": "at", "entity": "place"},
        },
        "type": "object",
        "required": ["id", "at", "place", "level", "steps"],
        "properties": {
            "id": {"type": "string", "maxLength": 20},
            "at": {
                **{"type": "integer", "x-unit": "timestamp-micros"},
                **{"minimum": 0, "maximum": 4_102_444_800_000_000},
            },
            "place": {"type": ["string", "null"], "maxLength": 20},
            "level": {"type": ["number", "null"], "minimum": -1000, "maximum": 1000},
            "steps": {"type": "integer", "minimum": 0, "maximum": 100},
        },
    }


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def event(number: int, at: datetime = NOON, **given: Any) -> dict[str, Any]:
    fields = {"place": f"café {number % 3}", "level": number / 7, "steps": number % 100}
    return {"id": f"e-{number}", "at": micros(at), **fields, **given}


@dataclass
class Harbour:
    """Where one test's events come in."""

    settings: Settings
    kafka: Kafka
    house: House
    root: Path
    topic: str
    sent: dict[tuple[str, int, int], tuple[dict[str, Any] | bytes, int]] = field(
        default_factory=dict
    )
    """(topic, partition, offset) -> what was sent there, and its timestamp."""

    def deploy(self) -> None:
        name = self.house.use_case
        (self.root / "models" / name).mkdir(parents=True)
        (self.root / "schemas" / name).mkdir(parents=True)
        (self.root / "models" / name / "pipeline.toml").write_text(
            PIPELINE.format(name=name, topic=self.topic, partitions=PARTITIONS)
        )
        for source in ("readings", "alarms"):
            path = self.root / "schemas" / name / f"{source}.v1.json"
            path.write_text(json.dumps(contract(source)))
        self.kafka.create_topics(self.pipeline)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.load(self.house.use_case, self.root / "models")

    @property
    def alarms(self) -> str:
        return f"{self.topic}.alarms"

    def send(
        self,
        events: Sequence[dict[str, Any] | bytes],
        topic: str | None = None,
        available: datetime = NOON + timedelta(seconds=1),
    ) -> None:
        """To the partitions in turn; each is readable at `available`."""
        producer = KafkaProducer(bootstrap_servers=self.kafka.bootstrap)
        stamp = micros(available) // 1000
        futures = [
            producer.send(
                topic or self.topic,
                value if isinstance(value, bytes) else json.dumps(value).encode(),
                partition=number % PARTITIONS,
                timestamp_ms=stamp,
            )
            for number, value in enumerate(events)
        ]
        producer.flush()
        for future, value in zip(futures, events, strict=True):
            place = future.get()
            self.sent[place.topic, place.partition, place.offset] = value, stamp
        producer.close()

    def land(self, **given: Any) -> Landing:
        given = {"master": "local[2]", "schemas": self.root / "schemas", **given}
        return land(self.settings, self.pipeline, **given)

    def files(self, source: str = "readings") -> list[Path]:
        return sorted((Path(self.settings.lake) / source).glob("date=*/batch=*/*"))

    def stored(self, source: str = "readings") -> pa.Table:
        """Every row of a lake table, copies included, by date, partition and offset."""
        tables = [pq.ParquetFile(path).read() for path in self.files(source)]
        table = pa.concat_tables(tables)
        place = zip(*(table[name].to_pylist() for name in LANDED.names[1:]), strict=True)
        return table.take([row for _, row in sorted(zip(place, itertools.count()))])

    def expected(self, topic: str, wrong: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """What must be stored of what was sent to a topic."""
        rows = []
        for (name, partition, offset), (value, stamp) in sorted(
            self.sent.items(), key=lambda item: item[0]
        ):
            if name == topic and value not in wrong:
                at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value["at"])
                seen = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=stamp)
                place = {"_kafka_partition": partition, "_kafka_offset": offset}
                rows.append({**value, "at": at, "_available_at": seen, **place})
        return rows

    def environment(self) -> dict[str, str]:
        """What a process of this deployment gets to see."""
        return {
            **{name: text for name, text in os.environ.items() if not name.startswith("LOCKSTEP_")},
            "LOCKSTEP_HOME": str(self.settings.home),
            "LOCKSTEP_LAKE": self.settings.lake,
            "LOCKSTEP_KAFKA": self.settings.kafka,
            "LOCKSTEP_SCORER_URL": self.settings.url("scorer"),
        }

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.house.connect().execute(query, values).fetchall()


@pytest.fixture(scope="module")
def landing_use_case(warehouse_settings: Settings) -> str:
    name = f"land_{uuid.uuid4().hex[:8]}"
    migrate.upgrade(warehouse_settings, name)
    House(warehouse_settings, name).approve()
    return name


@pytest.fixture
def harbour(
    warehouse_settings: Settings,
    kafka: Kafka,
    landing_use_case: str,
    tmp_path: Path,
) -> Iterator[Harbour]:
    """A use case with topics of the test's own, and an empty lake."""
    settings = warehouse_settings.model_copy(
        update={"lake": str(tmp_path / "lake"), "kafka": kafka.bootstrap}
    )
    house = House(settings, landing_use_case)
    made = Harbour(settings, kafka, house, tmp_path, f"landing-{next(_NUMBERS)}")
    made.deploy()
    yield made
    for conn in house.opened:
        conn.close()
