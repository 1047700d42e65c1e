"""A day of flights in a lake as landing leaves it, and streams that scored it, each test's own.

The lake has copies with other contents, arrivals that came late, and a day that never was on
Kafka. What the stream must have stored is said by tests/window_values.py, and for rows at a cut by
the reference: neither shares code with the audit.
"""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from lockstep.audit.report import Report
from lockstep.audit.request import Request, request_of
from lockstep.audit.run import audit_day
from lockstep.contracts import Contract, columns_from_arrow
from lockstep.estimators.xgboost import XGBoostModel
from lockstep.lake import write_partition
from lockstep.local.mlflow.server import Mlflow
from lockstep.pipeline import Pipeline
from lockstep.registry.register import register
from lockstep.registry.release import approve_version
from lockstep.settings import Settings
from lockstep.spark.session import spark_session
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect
from lockstep.warehouse.ledger import Ledger
from lockstep.warehouse.micro_batch import MicroBatch, Span
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.windows.reference import Record
from lockstep.windows.reference import window_values as slow_values
from tests.small_model import (
    REPOSITORY,
    arrivals,
    departures,
    flights,
    windowed_booster,
    windowed_compiled,
    windows,
)
from tests.window_values import window_values

DAY = date(2013, 3, 2)
PARTITIONS = 2
_LATE = 40
_COPIES = 30
Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass
class AuditHouse:
    """A use case whose lake is whole; `topic` is this test's stream."""

    settings: Settings
    use_case: str
    root: Path
    spark: SparkSession
    topic: str
    scored: pa.Table
    """The day's events."""
    values: Floats
    """float32[events, windows]: what a worker that saw everything has stored."""
    late: Floats
    """The same, had late events counted."""
    records: Mapping[str, list[Record]]
    late_events: Mapping[str, int]

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.load(self.use_case, self.root / "models")

    def request(self, day: date = DAY) -> Request:
        return request_of(self.pipeline, day, uuid.uuid4().hex, self.topic)

    def audit(self) -> Report:
        return audit_day(self.settings, self.request(), spark=self.spark)

    def ends(self, kept: float = 1.0) -> dict[str, list[int]]:
        """A cut after that part of each partition's records."""
        topics = self.request().topics
        cut = {}
        for source, records in self.records.items():
            on = [r.partition for r in records if r.partition is not None]
            cut[topics[source]] = [int(on.count(p) * kept) for p in range(PARTITIONS)]
        return cut

    def at(self, cut: Mapping[str, list[int]], row: int) -> list[np.float32]:
        """The window values of an event from what lies below a cut."""
        topics = self.request().topics
        below = {
            source: [
                record
                for record in records
                if record.partition is not None
                and record.offset < cut[topics[source]][record.partition]
            ]
            for source, records in self.records.items()
        }
        columns = columns_from_arrow(departures(), self.scored.slice(row, 1))
        event = {name: column[0] or None for name, column in columns.items()}
        return slow_values(windows(), below, int(columns[departures().time][0]), event)

    def stream(
        self,
        values: Floats | None,
        *,
        incomplete: Any = None,
        cut: dict[str, list[int]] | None = None,
        first: int = 0,
        ids: list[str] | None = None,
        place: tuple[int, int] = (0, 0),
    ) -> None:
        """A micro-batch as a worker stores it: events from row `first` on.

        `place` is the partition, and where it begins.
        """
        partition, low = place
        count = len(ids) if ids else len(self.scored) - first if values is None else len(values)
        events = self.scored.slice(first, count)
        times = columns_from_arrow(departures(), events)[departures().time]
        with connect(self.settings, "scorer", self.use_case) as connection:
            ensure_stream_day(connection, DAY)
            ledger = Ledger(connection, self.topic)
            ledger.open("u")
            claim = ledger.claim(partition, low, 10**9)
            begin = claim.next_offset
            batch = MicroBatch(
                spans=[Span(partition, begin, begin + count, claim.epoch)],
                ids=ids or events["event_id"].to_pylist(),
                event_time=times,
                entity=[""] * count,
                score=np.zeros(count, np.float32),
                margin=np.zeros(count, np.float32),
                partitions=np.full(count, partition, np.int32),
                offsets=np.arange(begin, begin + count),
                approval=1,
                windows=values,
                cut=cut or self.ends(),
                incomplete=incomplete,
            )
            assert ledger.write(batch) == 0

    def query(self, query: str, *values: Any, role: str = "scorer") -> list[tuple[Any, ...]]:
        with connect(self.settings, role, self.use_case) as connection:
            return connection.execute(query, values).fetchall()

    def environment(self) -> dict[str, str]:
        """What a process of this deployment gets to see."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("LOCKSTEP_")},
            "LOCKSTEP_HOME": str(self.settings.home),
            "LOCKSTEP_LAKE": self.settings.lake,
            "LOCKSTEP_MLFLOW": self.settings.mlflow,
            "LOCKSTEP_SCORER_URL": self.settings.url("scorer"),
        }


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("audit", "local[2]", left="nothing", next="nothing") as session:
        yield session


@pytest.fixture(scope="module")
def audited(
    warehouse_settings: Settings,
    mlflow_server: Mlflow,
    spark: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> AuditHouse:
    """The deployment that all tests share."""
    name, root = f"audit_{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("audit")
    settings = warehouse_settings.model_copy(
        update={"mlflow": mlflow_server.url, "lake": str(root / "lake")}
    )
    migrate.upgrade(settings, name)
    made = windowed_compiled(use_case=name)
    native = XGBoostModel(windowed_booster()).file()
    register(settings, made.model, made.certificate, native=native, fingerprint="audit")
    with connect(settings, "releaser", name) as connection:
        approve_version(settings, name, 1, connection, reason="an audit")
    folder = root / "models" / name
    folder.mkdir(parents=True)
    toml = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
    (folder / "pipeline.toml").write_text(toml.replace('"flight_delay"', f'"{name}"'))

    states = {c.source: landed(settings.lake, c) for c in (departures(), arrivals())}
    scored = of_day(flights()[departures().source], departures(), DAY)
    return AuditHouse(
        settings=settings,
        use_case=name,
        root=root,
        spark=spark,
        topic="",
        scored=scored,
        values=fast_values(states, scored, late=False),
        late=fast_values(states, scored, late=True),
        records={source: records_of(table) for source, table in states.items()},
        late_events={source: _LATE if source == arrivals().source else 0 for source in states},
    )


@pytest.fixture
def house(audited: AuditHouse, request: pytest.FixtureRequest) -> AuditHouse:
    audited.topic = f"{audited.use_case}.{request.node.name}"
    return audited


def of_day(table: pa.Table, contract: Contract, day: date) -> pa.Table:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = table[contract.time]
    after = pc.greater_equal(times, pa.scalar(start, times.type))
    before = pc.less(times, pa.scalar(start + timedelta(days=1), times.type))
    return table.filter(pc.and_(after, before))


def landed(lake: str, contract: Contract) -> pa.Table:
    """Write what the day's windows see into the lake; all of it, as one table.

    The day before never was on Kafka. Of the day, some arrivals came two hours late, and some
    were sent twice, the second time with another delay.
    """
    source, wanted = contract.source, windows().days(contract.source, DAY, DAY)
    tables = []
    for day in sorted({*wanted, DAY}):
        table = of_day(flights()[source], contract, day).sort_by(contract.time)
        if day < DAY:
            write_partition(lake, source, day, "history", table)
            tables.append(placed(table, None))
            continue
        available = table[contract.time].cast(pa.int64()).to_numpy().copy()
        if contract is arrivals() and day == DAY:
            available[10 :: len(available) // _LATE][:_LATE] += 7_200_000_000
            again = table.slice(100, _COPIES)
            delay = pc.add(again["arr_delay"], pa.scalar(500.0))
            position = again.schema.get_field_index("arr_delay")
            again = again.set_column(position, table.schema.field("arr_delay"), delay)
            table = pa.concat_tables([table, again])
            available = np.concatenate([available, available[100 : 100 + _COPIES] + 1000])
        whole = placed(table, available)
        write_partition(lake, source, day, "landed", whole)
        tables.append(whole)
    return pa.concat_tables(tables)


def placed(table: pa.Table, available: Any) -> pa.Table:
    """With what landing adds: offsets in the order in which records became readable."""
    count = table.num_rows
    partition: list[int | None] = [None] * count
    offset: list[int | None] = [None] * count
    if available is not None:
        following = [0] * PARTITIONS
        for row in np.argsort(available, kind="stable").tolist():
            number = zlib.crc32(table["event_id"][row].as_py().encode()) % PARTITIONS
            partition[row], offset[row] = number, following[number]
            following[number] += 1
    return (
        table.append_column(
            "_available_at",
            pa.nulls(count, pa.timestamp("us", "UTC"))
            if available is None
            else pa.array(available).cast(pa.timestamp("us", "UTC")),
        )
        .append_column("_kafka_partition", pa.array(partition, pa.int32()))
        .append_column("_kafka_offset", pa.array(offset, pa.int64()))
    )


def records_of(table: pa.Table) -> list[Record]:
    contract = arrivals() if "arr_delay" in table.schema.names else departures()
    columns = columns_from_arrow(contract, table)
    available = table["_available_at"].cast(pa.int64()).to_pylist()
    place = zip(
        table["_kafka_partition"].to_pylist(), table["_kafka_offset"].to_pylist(), strict=True
    )
    return [
        Record(
            {name: column[row] for name, column in columns.items()},
            columns[contract.time][row] if available[row] is None else available[row],
            *where,
        )
        for row, where in enumerate(place)
    ]


def fast_values(states: Mapping[str, pa.Table], scored: pa.Table, *, late: bool) -> Floats:
    """By sorted columns: copies left out (they lie last), and late events if they do not count."""
    columns = {}
    for contract in (departures(), arrivals()):
        table = states[contract.source]
        times = table[contract.time].cast(pa.int64()).to_numpy()
        available = table["_available_at"].cast(pa.int64()).fill_null(-1).to_numpy()
        keep = np.ones(len(times), np.bool_) if late else available <= times + 55_000_000
        ids = table["event_id"].to_pylist()
        firsts = {id: row for row, id in reversed(list(enumerate(ids)))}
        keep &= np.isin(np.arange(len(times)), list(firsts.values()))
        found = columns_from_arrow(contract, table)
        columns[contract.source] = {name: column[keep] for name, column in found.items()}
    asked = columns_from_arrow(departures(), scored)
    found = window_values(windows(), columns, asked, asked[departures().time])
    return np.stack([found[name] for name in windows().names], axis=1)
