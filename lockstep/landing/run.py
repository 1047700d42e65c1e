"""A landing run: every topic of a use case, up to where its log ends now, into the lake.

    1. the topics are there and their timestamps are what pipeline.toml says
    2. Spark reads each that has something new with trigger availableNow, from where its
       checkpoint says; where none has, no Spark is started
    3. an epoch's tasks write their stretches into the lake
    4. the warehouse notes what landed and what was refused, once, however often it is told
    5. Spark notes the epoch in the checkpoint

Killed before 5, the next run does the epoch again: the same batches are written over (see
`tasks`) and the warehouse knows them already. The checkpoint lies in the lake, below
_checkpoints/USE_CASE/TOPIC; removing it lands the log once more, and copies are read once.

Refused records are counted, with an example of each kind; their bytes go to the dead letters
through the worker, which reads the same topics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.contracts import Contract, Limits
from lockstep.errors import UsageError, marked_in
from lockstep.lake import new_events
from lockstep.landing.checkpoint import checkpoint_of, nothing_new
from lockstep.landing.log import log_of, require_timestamps
from lockstep.landing.tasks import OUTCOME, LandingAssignment, batch_name, land_batches
from lockstep.pipeline import Pipeline
from lockstep.progress import Progress, Silent
from lockstep.settings import Settings
from lockstep.spark.session import spark_session
from lockstep.warehouse.connect import connect
from lockstep.warehouse.landings import ChangedDay, Landed, Rejected, changed_days, record

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["LandedTopic", "Landing", "land"]


@dataclass
class LandedTopic:
    """What a run brought of one topic."""

    topic: str
    source: str
    """The lake table."""
    epochs: int = 0
    days: dict[date, list[int]] = field(default_factory=dict)
    """Event date -> rows, and how many of them are late: readable after their day had ended."""
    fresh: int = 0
    """Events that the lake did not have: the other rows are copies."""
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Reason -> how many, and an example."""

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.days.values())

    @property
    def late(self) -> int:
        return sum(late for _, late in self.days.values())

    def add(self, landed: Iterable[Landed], rejected: Iterable[Rejected]) -> None:
        self.epochs += 1
        for part in landed:
            counts = self.days.setdefault(part.day, [0, 0])
            counts[0] += part.rows
            counts[1] += part.late
            self.fresh += part.fresh
        for refused in rejected:
            rows, example = self.refused.get(refused.reason, (0, refused.example or ""))
            self.refused[refused.reason] = rows + refused.rows, example


@dataclass(frozen=True)
class Landing:
    """What a run did, and the published days that now lack events: new ones, not copies."""

    topics: list[LandedTopic]
    changed: list[ChangedDay]


def land(
    settings: Settings,
    pipeline: Pipeline,
    *,
    topic: str | None = None,
    master: str | None = None,
    schemas: Path = Path("schemas"),
    progress: Progress | None = None,
) -> Landing:
    """Land the use case's topics, or with `topic` those of a replay into it.

    `master` is where Spark runs; None: where spark-submit said. Raises OffsetsLost where a log
    does not continue at its checkpoint, Terminal for a topic that is missing or has other
    timestamps, and a Transient error for a service that does not answer.
    """
    if master is not None and master.startswith("sc://"):
        raise UsageError(
            f"landing cannot run through Spark Connect ({master}): the driver notes what landed",
            next="set LOCKSTEP_SPARK_MASTER to local[*] or spark://HOST:PORT",
        )
    if topic is not None and pipeline.stream.timestamps == "LogAppendTime":
        # Copies are told apart by their place in a log, and which log is not kept.
        raise UsageError(
            f"a replay into {topic} has the broker's time of the replay, not of the events: all of"
            " its state would be late, and could take the place of what was live",
            left="the lake as it was",
            next="land replays in a deployment whose stream.timestamps is CreateTime",
        )
    telling = progress or Silent()
    pipeline = pipeline.on(topic) if topic else pipeline
    sources = {pipeline.lake_table: pipeline.topics.events, **pipeline.state}
    contracts = {
        source: Contract.of_source(pipeline.use_case, source, schemas) for source in sources
    }
    logs = {source: log_of(settings.kafka, name) for source, name in sources.items()}
    for name in sources.values():
        require_timestamps(settings.kafka, name, pipeline.stream.timestamps)
    checkpoints = {
        source: checkpoint_of(settings.lake, pipeline.use_case, name)
        for source, name in sources.items()
    }
    landed = {source: LandedTopic(name, source) for source, name in sources.items()}
    new = [source for source in sources if not nothing_new(logs[source], checkpoints[source])]
    with connect(settings, "scorer", pipeline.use_case) as connection:
        connection.autocommit = True
        changed = changed_days(connection)  # before Spark starts: it must be able to note it
        if not new:
            return Landing(list(landed.values()), changed)
        with spark_session(
            f"lockstep land {pipeline.use_case}",
            master,
            left="what was landed before, and nothing by halves: what was begun is done again",
            next="read Spark's log above; then land again",
        ) as spark:
            for source in new:
                telling.start(f"land {sources[source]}")
                assignment = LandingAssignment(
                    lake=settings.lake,
                    topic_id=logs[source].topic_id,
                    contract=dict(contracts[source].document),
                    max_bytes=pipeline.stream.max_value_bytes,
                    limits=Limits(
                        pipeline.stream.clock_skew_us, oldest=pipeline.landing.max_age_us
                    ),
                )
                _stream(
                    spark,
                    settings.kafka,
                    checkpoints[source],
                    assignment,
                    landed[source],
                    connection,
                )
                telling.finish(f"{landed[source].rows:,} rows")
        return Landing(list(landed.values()), changed_days(connection))


def _stream(
    spark: SparkSession,
    kafka: str,
    checkpoint: str,
    assignment: LandingAssignment,
    told: LandedTopic,
    connection: Any,
) -> None:
    from pyspark.errors import PySparkException

    from lockstep.landing.source import KafkaLog

    raised: list[BaseException] = []

    def epoch(records: DataFrame, number: int) -> None:
        try:
            outcomes = records.mapInArrow(partial(land_batches, assignment), OUTCOME).collect()
            run_id, landed, rejected = _notes(told, assignment, outcomes)
            record(connection, run_id, landed, rejected)
            told.add(landed, rejected)
        except BaseException as error:
            raised.append(error)
            raise

    spark.dataSource.register(KafkaLog)
    stream = (
        spark.readStream.format("kafka_log")
        .options(
            kafka=kafka,
            topic=told.topic,
            checkpoint=checkpoint,
            max_bytes=str(assignment.max_bytes),
        )
        .load()
        .writeStream.foreachBatch(epoch)
        .option("checkpointLocation", _uri(checkpoint))
        .queryName(f"land {told.topic}")
        .trigger(availableNow=True)
    )
    try:
        stream.start().awaitTermination()
    except PySparkException as error:
        cause = raised[0] if raised else error
        raise marked_in(str(cause)) or cause from None


def _notes(
    told: LandedTopic, assignment: LandingAssignment, outcomes: list[Any]
) -> tuple[str, list[Landed], list[Rejected]]:
    """What the warehouse is told of an epoch, under a name that says what it holds."""
    stretches = sorted({(row.partition, row.first, row.following) for row in outcomes})
    batches = [batch_name(assignment.topic_id, *stretch) for stretch in stretches]
    run_id = f"landed-{hashlib.sha256(' '.join(batches).encode()).hexdigest()[:16]}"
    days: dict[date, dict[str, Any]] = {}
    refused: dict[str, tuple[int, str]] = {}
    for row in sorted(outcomes, key=lambda row: (row.partition, row.first)):
        if row.day is None:
            rows, example = refused.get(row.reason, (0, row.example))
            refused[row.reason] = rows + row.rows, example
            continue
        day = days.setdefault(row.day, {"rows": 0, "late": 0, "offsets": {}})
        day["rows"] += row.rows
        day["late"] += row.late
        first, _ = day["offsets"].get(row.partition, (row.first_offset, 0))
        day["offsets"][row.partition] = first, row.last_offset
    contract = Contract.from_document(assignment.contract)
    for number, facts in days.items():
        fresh, late = new_events(assignment.lake, contract, number, batches)
        facts |= {"fresh": fresh, "fresh_late": late}
    return (
        run_id,
        [Landed(told.topic, told.source, day, **facts) for day, facts in sorted(days.items())],
        [
            Rejected(told.topic, told.source, kind, *facts)
            for kind, facts in sorted(refused.items())
        ],
    )


def _uri(path: str) -> str:
    return path if "://" in path else f"file://{Path(path).absolute()}"
