"""Each case has one verdict: worker, landing, batch, training, Spark and the reference agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lockstep.contracts import Contract, Judge, Limits, readable_at
from lockstep.errors import LakeError, marked_in
from lockstep.lake import LANDED, counted, read_rows, write_partition
from lockstep.lake.spark_events import read_records, windowed_events
from lockstep.landing.source import _SCHEMA
from lockstep.landing.tasks import LandingAssignment, land_batches
from lockstep.pipeline import Stream
from lockstep.progress import Silent
from lockstep.settings import Settings
from lockstep.spark.session import spark_session
from lockstep.training.dataset import read_rows as training_rows
from lockstep.training.definition import Label, Period
from lockstep.training.history import read_windowed
from lockstep.windows.declaration import Source, Window, bind
from lockstep.windows.online import OnlineWindows
from lockstep.windows.reference import Record, verdict, window_values
from streaming.judging import judge_of_scored, judge_of_state
from tests.windows.window_cases import SCORED, STATE, contract

SECOND, HOUR = 1_000_000, 3_600_000_000
DAY_US = 24 * HOUR
NOON, DAY = 1_372_680_000_000_000, date(2013, 7, 1)
OUTCOME = contract("outcome")
STREAM = Stream(clock_skew_s=5, max_lateness_h=6)
OLDEST = 366 * DAY_US
LANDING = Limits(STREAM.clock_skew_us, oldest=OLDEST)
# The model promises less than the deployment: wherever it reads, its own skew holds.
WINDOWS = bind(
    [
        Window(
            "seen",
            Source(STATE.source, delay="1min", clock_skew="2s"),
            **{"by": "place", "agg": "count", "over": "2h", "hop": "1s"},
        )
    ],
    SCORED,
    {STATE.source: STATE}.__getitem__,
)
ON_TIME = 58 * SECOND


class Planted(NamedTuple):
    """A record. Its event happened `ahead` after the record became readable, at `seen`."""

    case: str
    seen: int = 0
    ahead: int = 0
    id: str | None = None
    partition: int = 0
    changes: Mapping[str, Any] = {}

    def event(self, number: int) -> dict[str, Any]:
        return {
            **{"event_id": self.id or f"e{number}", "at": NOON + self.seen + self.ahead},
            **{"place": None, "line": "AA", "number": 0, "gain": 1.0, "other": None, "whole": 0},
            **self.changes,
        }


BROKEN = {"gain": 1e6}
SCORED_CASES = {
    # case: (live, lands, counts in the lake)
    "valid": ("taken", True, True),
    "at the model's skew": ("taken", True, True),
    "beyond the model's skew": ("refused", True, False),
    "at the deployment's skew": ("refused", True, False),
    "beyond the deployment's skew": ("refused", False, False),
    "at the lateness": ("taken", True, True),
    "beyond the lateness": ("late", True, True),
    "at the oldest": ("late", True, None),
    "beyond the oldest": ("late", False, None),
    "invalid": ("refused", False, False),
    "null where none may be": ("refused", False, False),
    "a copy": ("taken", True, False),
    "a conflicting copy": ("taken", True, False),
    "good, of which an invalid copy came first": ("taken", True, True),
    "good, of which a copy with a wrong clock came first": ("taken", True, True),
}
SCORED_RECORDS = [
    Planted("valid", id="copied"),
    Planted("at the model's skew", ahead=2 * SECOND),
    Planted("beyond the model's skew", ahead=2 * SECOND + 1),
    Planted("at the deployment's skew", ahead=5 * SECOND),
    Planted("beyond the deployment's skew", ahead=5 * SECOND + 1),
    Planted("at the lateness", ahead=-6 * HOUR),
    Planted("beyond the lateness", ahead=-6 * HOUR - 1),
    Planted("at the oldest", ahead=-OLDEST),
    Planted("beyond the oldest", ahead=-OLDEST - 1),
    Planted("invalid", changes=BROKEN),
    Planted("null where none may be", changes={"line": None}),
    Planted("a copy", id="copied", partition=1),
    Planted("a conflicting copy", id="copied", partition=1, changes={"gain": 2.0}),
    Planted("invalid", id="mended", changes=BROKEN),
    Planted("good, of which an invalid copy came first", id="mended", changes={"gain": 3.0}),
    # Two seconds and a half ahead of its own record, and not of the next one.
    Planted("beyond the model's skew", seen=-2_500_000, ahead=2_500_000, id="later"),
    Planted("good, of which a copy with a wrong clock came first", id="later", seen=0),
]
STATE_CASES: dict[str, tuple[int, list[Planted]]] = {
    # place: (how many of its records are in a window, the records)
    "one": (1, [Planted("valid")]),
    "bad": (0, [Planted("invalid", changes=BROKEN)]),
    "null": (0, [Planted("null", changes={"line": None})]),
    "skew": (1, [Planted("at the skew", ahead=2 * SECOND)]),
    "futu": (0, [Planted("of the future", ahead=2 * SECOND + 1)]),
    "ontm": (1, [Planted("at the lateness", ahead=-ON_TIME)]),
    "late": (0, [Planted("late", ahead=-ON_TIME - 1)]),
    "copy": (1, [Planted("valid", id="c"), Planted("copy", id="c")]),
    "lcop": (1, [Planted("valid", id="d"), Planted("late copy", HOUR, -HOUR, id="d")]),
    "lfir": (0, [Planted("late", HOUR, -HOUR, id="f"), Planted("copy on time", id="f")]),
    "mend": (1, [Planted("invalid", id="m", changes=BROKEN), Planted("copy", id="m")]),
    "cloc": (1, [Planted("ahead", -3 * SECOND, 3 * SECOND, id="w"), Planted("copy", id="w")]),
}
STATE_RECORDS = [
    record._replace(changes={"place": place, **record.changes})
    for place, (_, records) in STATE_CASES.items()
    for record in records
]
# One event for each place, half an hour later, which sees what of it counts.
ASKING = [
    Planted("asking", 30 * 60 * SECOND, id=f"q-{place}", changes={"place": place})
    for place in STATE_CASES
]
LABELS = {
    # id: (its label, or why it has none; its outcomes as microseconds after it and gain)
    "at": (4.0, [(0, 4.0)]),
    "early": ("early", [(-1, 5.0)]),
    "first": (6.0, [(2 * HOUR, 7.0), (HOUR, 6.0)]),
    "broken": (8.0, [(HOUR, 1e6), (2 * HOUR, 8.0)]),
    "twice": (9.0, [(HOUR, 9.0), (HOUR, 10.0)]),
    "none": ("unknown", []),
}
LABELLED = [Planted("labelled", id=id) for id in LABELS]
OUTCOMES = [
    Planted("outcome", seen=after // 1000 * 1000, ahead=after % 1000, id=id, changes={"gain": gain})
    for id, (_, outcomes) in LABELS.items()
    for after, gain in outcomes
]


def integers_for_times(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [
            field.with_type(pa.int64()) if pa.types.is_timestamp(field.type) else field
            for field in schema
        ]
    )


class Log(NamedTuple):
    """Planted records as they lie in a topic."""

    of: Contract
    planted: Sequence[Planted]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [record.event(number) for number, record in enumerate(self.planted)]

    @property
    def available_at(self) -> np.ndarray[Any, Any]:
        stamps = np.array([NOON + record.seen for record in self.planted])
        assert not (stamps % 1000).any()
        return readable_at(stamps // 1000)

    @property
    def values(self) -> list[bytes | None]:
        return [msgspec.json.encode(event) for event in self.events]

    def said(self, judge: Judge) -> list[str]:
        judged = judge.records(self.values, self.available_at)
        found = dict.fromkeys(judged.refused, "refused")
        pairs = zip(judged.kept.tolist(), judged.late.tolist(), strict=True)
        found |= {position: "late" if late else "taken" for position, late in pairs}
        return [found[position] for position in range(len(self.planted))]

    def land(self, lake: str, limits: Limits) -> None:
        """By the task that a landing runs: a stretch for each partition."""
        document = dict(self.of.document)
        assignment = LandingAssignment(lake, self.of.source, document, 1 << 20, limits)
        for partition in {record.partition for record in self.planted}:
            rows = [
                {
                    **{"partition": partition, "first": 0, "following": len(self.planted)},
                    **{"offset": offset, "timestamp_ms": int(at) // 1000, "value": value},
                }
                for offset, (record, at, value) in enumerate(
                    zip(self.planted, self.available_at, self.values, strict=True)
                )
                if record.partition == partition
            ]
            list(land_batches(assignment, [pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)]))

    def load(self, lake: str) -> None:
        """As somebody's landing with wider limits would: whatever fits into the columns."""
        schema = [field.with_nullable(True) for field in self.of.arrow_schema]
        whole = pa.schema([*schema, *LANDED])
        plain = pa.schema(
            [
                pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type)
                for f in whole
            ]
        )
        rows = [
            event | dict(zip(LANDED.names, (int(at), record.partition, offset), strict=True))
            for offset, (record, event, at) in enumerate(
                zip(self.planted, self.events, self.available_at, strict=True)
            )
            if (NOON + record.seen + record.ahead) // DAY_US == NOON // DAY_US
        ]
        table = pa.Table.from_pylist(rows, schema=plain).cast(whole)
        write_partition(lake, self.of.source, DAY, "loaded", table)


SCORED_LOG = Log(SCORED, [*SCORED_RECORDS, *ASKING, *LABELLED])
STATE_LOG, OUTCOME_LOG = Log(STATE, STATE_RECORDS), Log(OUTCOME, OUTCOMES)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = str(tmp_path_factory.mktemp("lake"))
    for log in (SCORED_LOG, STATE_LOG, OUTCOME_LOG):
        log.load(made)
        empty = log.of.arrow_schema.empty_table()
        write_partition(made, log.of.source, DAY - timedelta(days=1), "empty", empty)
    return made


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("judgement", "local[2]", left="nothing", next="nothing") as session:
        yield session


def counting_ids() -> list[str]:
    """The scored events that count in the lake, by the table above."""
    found = [
        record.event(number)["event_id"]
        for number, record in enumerate(SCORED_RECORDS)
        if SCORED_CASES[record.case][2]
    ]
    return sorted([*found, *(record.id or "" for record in (*ASKING, *LABELLED))])


def gains(events: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Which copy counts."""
    return dict(zip(events["event_id"], events["gain"], strict=True))


COUNTS = {f"q-{place}": float(count) for place, (count, _) in STATE_CASES.items()}
CHOSEN = {"copied": 1.0, "mended": 3.0, "later": 1.0}


def test_the_worker_says_what_the_table_says() -> None:
    expected = [SCORED_CASES[record.case][0] for record in SCORED_RECORDS]
    judge = judge_of_scored(STREAM, SCORED, WINDOWS)
    assert Log(SCORED, SCORED_RECORDS).said(judge) == expected
    valid = [
        record.changes.get("gain") != 1e6 and "line" not in record.changes
        for record in SCORED_RECORDS
    ]
    slowly = [
        verdict(judge.limits, NOON + record.seen + record.ahead, NOON + record.seen)
        for record in SCORED_RECORDS
    ]
    told = zip(slowly, valid, strict=True)
    assert [said if good else "refused" for said, good in told] == expected


def test_a_landing_brings_what_the_table_says(tmp_path: Path) -> None:
    log = Log(SCORED, SCORED_RECORDS)
    log.land(str(tmp_path), LANDING)
    found = set()
    for folder in (tmp_path / SCORED.source).iterdir():
        table = read_rows(str(tmp_path), SCORED, date.fromisoformat(folder.name[5:]))
        found |= set(table["_kafka_offset"].to_pylist())
    expected = {
        offset for offset, record in enumerate(SCORED_RECORDS) if SCORED_CASES[record.case][1]
    }
    assert found == expected


def test_the_lake_counts_what_the_table_says(lake: str) -> None:
    """As batch and training read it."""
    found = counted(read_rows(lake, SCORED, DAY), Judge(SCORED, WINDOWS.limits))
    events = found.table.to_pydict()
    assert sorted(events["event_id"]) == counting_ids()
    assert CHOSEN.items() <= gains(events).items()
    assert [(conflict.id, conflict.fields) for conflict in found.conflicts] == [
        ("copied", ("gain",))
    ]
    assert found.copies == 2


def test_training_sees_what_the_table_says(lake: str, tmp_path: Path) -> None:
    told: list[str] = []

    class Heard(Silent):
        def finish(self, said: str) -> None:
            told.append(said)

    settings = Settings(home=tmp_path, lake=lake)
    table = read_windowed(settings, SCORED, WINDOWS, [DAY], Heard())
    events = table.to_pydict()
    assert sorted(events["event_id"]) == counting_ids()
    assert CHOSEN.items() <= gains(events).items()
    values = zip(events["event_id"], events["window_values"], strict=True)
    assert COUNTS.items() <= {id: value for id, (value,) in values}.items()
    assert "case_scored refused (4 as wrong clock" in told[0]
    assert "case_state as state refused (" in told[0]

    # And its labels, each by its own event and time.
    label = Label("x", ("gain",), lambda found: found["gain"], "gain", timedelta(days=1))
    for recorded in (table, None):
        rows = training_rows(
            lake, SCORED, OUTCOME, label, Period(DAY, DAY + timedelta(days=1)), Heard(),
            windows=WINDOWS if recorded else bind([], SCORED, {}.__getitem__), recorded=recorded,
        )  # fmt: skip
        found = dict(zip(rows.columns["event_id"].tolist(), rows.label.tolist(), strict=True))
        assert found == {id: gain for id, (gain, _) in LABELS.items() if isinstance(gain, float)}
        assert rows.early == 1
        assert "1 rows of case_outcome refused (1 as gain is" in told[-1]


def test_spark_sees_what_the_table_says(spark: SparkSession, lake: str) -> None:
    table = windowed_events(spark, lake, SCORED, WINDOWS, [DAY]).toArrow()
    events = table.to_pydict()
    assert sorted(events["event_id"]) == counting_ids()
    assert CHOSEN.items() <= gains(events).items()
    values = zip(events["event_id"], events["window_values"], strict=True)
    assert COUNTS.items() <= {id: value for id, (value,) in values}.items()


def test_state_counts_as_the_table_says() -> None:
    """By the worker's engine as it judges and folds, and by the reference."""
    judge = judge_of_state(STREAM, WINDOWS, STATE.source)
    judged = judge.records(STATE_LOG.values, STATE_LOG.available_at)
    online = OnlineWindows(WINDOWS, complete_from=-(2**62))
    folded = online.fold(STATE.source, judged.columns, judged.available_at)
    assert folded.wrong_clock == 0
    asking = Log(SCORED, ASKING)
    asked = Judge(SCORED).records(asking.values, asking.available_at).columns
    values = online.values(asked, asked[SCORED.time])
    assert dict(zip(asked["event_id"], values[:, 0].tolist(), strict=True)) == COUNTS
    records = [
        Record(event, int(at), record.partition, offset)
        for offset, (record, event, at) in enumerate(
            zip(STATE_RECORDS, STATE_LOG.events, STATE_LOG.available_at, strict=True)
        )
        if event["gain"] != 1e6 and event["line"]
    ]
    for event in asking.events:
        (count,) = window_values(WINDOWS, {STATE.source: records}, event["at"], event)
        assert count == COUNTS[event["event_id"]]


def test_an_event_in_another_days_folder_is_an_error_for_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Also as state: Spark may not count in silence what training refuses."""
    table = pa.Table.from_pylist(
        [SCORED_RECORDS[0].event(0)],
        schema=integers_for_times(STATE.arrow_schema),
    ).cast(STATE.arrow_schema)
    path = write_partition(str(tmp_path), STATE.source, DAY + timedelta(days=1), "a", table)
    with pytest.raises(LakeError, match="are of another UTC day"):
        read_rows(str(tmp_path), STATE, DAY + timedelta(days=1))
    with pytest.raises(PySparkException) as raised:
        read_records(spark, str(tmp_path), STATE, [path]).toArrow()
    told = marked_in(str(raised.value))
    assert isinstance(told, LakeError)
    assert "1 events in case_state/date=2013-07-02 are of another UTC day" in told.message
