"""A use case that has nothing to do with flights, from its source to batch and stream.

One repository of the test's own, with links to the use case's files: its lake, a registry and a
warehouse are filled by typed commands, once. A worker scores the day again, live.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bokeh_sampledata.glucose import data as recorded

from lockstep.contracts import Contract, Validator, columns_from_arrow
from lockstep.kafka.topics import create_topics, topics_of
from lockstep.local.home import free_port
from lockstep.local.kafka.broker import Kafka
from lockstep.pipeline import Pipeline
from lockstep.registry.mlflow import fetch_model
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from lockstep.windows.reference import Record, window_values
from lockstep.windows.semantics import WindowSet
from models.blood_glucose import data
from models.blood_glucose.model import MODEL
from tests.tiny import REPOSITORY, TinyRepository
from tests.until import LIMIT_S, until

USE_CASE = "blood_glucose"
DAY = date(2010, 10, 5)
MINUTE = 60_000_000
DAY_US = 1440 * MINUTE
NAMES = ("reading", "outcome")


@cache
def contracts() -> dict[str, Contract]:
    folder = REPOSITORY / "schemas" / USE_CASE
    return {name: Contract.load(folder / f"{name}.v1.json") for name in NAMES}


@cache
def tables() -> dict[str, pa.Table]:
    made = data.tables(*contracts().values())
    return dict(zip(NAMES, made, strict=True))


def frame(name: str) -> pd.DataFrame:
    return tables()[name].to_pandas()


@pytest.mark.parametrize("name", NAMES)
def test_every_event_keeps_its_contract(name: str) -> None:
    contract, table = contracts()[name], tables()[name]
    assert table.schema == contract.arrow_schema
    assert Validator(contract).violations(columns_from_arrow(contract, table)) == {}
    assert len(set(table[contract.id].to_pylist())) == table.num_rows
    times = table[contract.time].cast(pa.int64()).to_numpy()
    assert (times[:-1] <= times[1:]).all()


def test_every_reading_since_the_first_day_is_there() -> None:
    since = recorded[recorded.index >= "2010-07-24"]
    found = frame("reading")
    assert len(found) == len(since) == 21_134
    assert (found.glucose.to_numpy() == since.glucose.to_numpy()).all()
    assert (found.read_at.dt.tz_localize(None).to_numpy() == since.index.to_numpy()).all()
    # Every day has readings: none of them would be refused as missing.
    assert len(set(found.read_at.dt.date)) == (date(2010, 10, 11) - date(2010, 7, 24)).days


def test_an_outcome_is_the_reading_half_an_hour_later() -> None:
    read, came = frame("reading").set_index("event_id"), frame("outcome").set_index("event_id")
    at = read.read_at[came.index]
    ahead = (came.known_at - at).dt.total_seconds() / 60
    assert ahead.between(27, 33).all()
    assert (read.glucose[came.index] == came.before).all()
    assert (read.hour[came.index] == came.hour).all()
    for event, row in came.sample(200, random_state=0).iterrows():
        there = read[read.read_at == row.known_at]
        assert row.after in set(there.glucose), event
    # A reading without an outcome has no other one about half an hour later.
    for wanted in read.read_at.drop(came.index) + pd.Timedelta("30min"):
        assert (read.read_at - wanted).abs().min() > pd.Timedelta("3min")


def test_a_current_that_is_no_number_is_null() -> None:
    found = frame("reading").current
    words = pd.to_numeric(recorded["isig"], errors="coerce").isna()
    assert found.isna().sum() == words[recorded.index >= "2010-07-24"].sum() > 0
    assert found.min() > 0


@dataclass(frozen=True)
class Deployed:
    """The use case after everything was typed: data, train, migrate, approve, score."""

    repository: TinyRepository
    settings: Settings
    environment: dict[str, str]
    trained: dict[str, Any]
    scored: dict[str, Any]

    def rows(self, source: str = "batch") -> list[tuple[Any, ...]]:
        """What readers see of the day: (id, time, score, margin, window values, incomplete)."""
        with connect(self.settings, "analyst", USE_CASE) as connection:
            return connection.execute(
                "select event_id, event_time, score, margin, window_values, incomplete"
                " from predictions where event_date = %s and source = %s"
                " order by event_time, event_id",
                [DAY, source],
            ).fetchall()

    def type(self, *words: str) -> dict[str, Any]:
        return typed(self.repository, self.environment, *words)


def typed(repository: TinyRepository, environment: dict[str, str], *words: str) -> dict[str, Any]:
    """Type a command; the facts that it says."""
    done = repository.type(*words, "--json", **environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def deployed(
    warehouse_settings: Settings,
    mlflow_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Deployed:
    root = tmp_path_factory.mktemp(USE_CASE)
    (root / "models").mkdir()
    (root / "schemas").mkdir()
    files = ("models/__init__.py", f"models/{USE_CASE}", f"schemas/{USE_CASE}")
    for name in (*files, "streaming"):
        (root / name).symlink_to(REPOSITORY / name)
    repository = TinyRepository(root, warehouse_settings.home)
    lake = str(root / "lake")
    settings = warehouse_settings.model_copy(update={"mlflow": mlflow_server.url, "lake": lake})
    roles = ("owner", "scorer", "releaser", "analyst")
    environment = {
        "LOCKSTEP_LAKE": lake,
        "LOCKSTEP_MLFLOW": settings.mlflow,
        **{f"LOCKSTEP_{role.upper()}_URL": settings.url(role) for role in roles},
    }

    for words in (["data"], ["migrate"]):
        typed(repository, environment, *words, USE_CASE)
    trained = typed(repository, environment, "train", USE_CASE)
    version = str(trained["version"])
    typed(repository, environment, "approve", USE_CASE, version, "--reason", "a test")
    scored = typed(repository, environment, "score", USE_CASE, "--partition", str(DAY))
    return Deployed(repository, settings, environment, trained, scored)


def test_the_certificate_says_that_no_margin_differs(deployed: Deployed) -> None:
    assert deployed.trained["certificate"].startswith("0 of ")
    assert deployed.trained["metrics"]["rmse"] < MODEL.gates["rmse"]


def test_the_gate_asks_for_more_than_to_say_that_nothing_changes() -> None:
    came, first = frame("outcome"), frame("reading").set_index("event_id").read_at
    read_on = first[came.event_id].dt.date.to_numpy()
    tested = came[(read_on >= MODEL.test.start) & (read_on < MODEL.test.until)]
    unchanged = float(np.sqrt(((tested.after - tested.before) ** 2).mean()))
    assert round(unchanged, 1) == 28.7
    assert MODEL.gates["rmse"] < unchanged


def test_a_day_is_published_whole(deployed: Deployed) -> None:
    found = frame("reading")
    expected = found[found.read_at.dt.date == DAY]
    rows = deployed.rows()
    assert deployed.scored["rows"] == len(rows) == len(expected) > 200
    assert [row[0] for row in rows] == list(expected.event_id)
    scores = np.array([row[2] for row in rows])
    # A regression: milligrams per decilitre, not probabilities; and score and margin are one.
    assert (scores > 30).all()
    assert scores.mean() > 80
    assert [row[2] for row in rows] == [row[3] for row in rows]


def test_the_published_scores_are_close_to_what_came(deployed: Deployed) -> None:
    came = frame("outcome").set_index("event_id")
    pairs = [(row[2], came.after[row[0]]) for row in deployed.rows() if row[0] in came.index]
    error = np.array(pairs) @ [1, -1]
    unchanged = came.loc[[row[0] for row in deployed.rows() if row[0] in came.index]]
    assert np.sqrt((error**2).mean()) < np.sqrt(((unchanged.after - unchanged.before) ** 2).mean())


def test_published_window_values_are_the_references(deployed: Deployed) -> None:
    windows = declared(deployed)
    sample = deployed.rows()[::12]
    assert len(sample) > 15
    readings = {row["event_id"]: row for row in records("reading")}
    state = {contracts()[name].source: recent(name) for name in NAMES}
    for event, *_, found, _ in sample:
        reading = readings[event]
        expected = window_values(windows, state, reading["read_at"], reading)
        # As bits: NaN is NaN, and nothing is close enough.
        assert np.array(found, np.float32).tobytes() == np.array(expected).tobytes(), event
    values = np.array([row[4] for row in deployed.rows()], float)
    assert (np.nanstd(values, axis=0) > 0).all(), "each window says something"


@contextmanager
def worker(deployed: Deployed, topic: str, kafka: str) -> Iterator[None]:
    """A streaming worker, ready, for as long as the block runs."""
    port = str(free_port())
    root, flags = deployed.repository.root, ("--topic", topic, "--port", port)
    names = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (root / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lockstep.cli", "stream", USE_CASE, *flags],
            cwd=root,
            env={
                **names,
                **deployed.environment,
                "LOCKSTEP_HOME": str(deployed.repository.home),
                "LOCKSTEP_KAFKA": kafka,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def ready() -> bool:
        assert process.poll() is None, (root / "worker.log").read_text()[-4000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return True
        except OSError:
            return False

    try:
        until(ready, "the worker is ready")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0, (root / "worker.log").read_text()[-4000:]


def test_a_worker_gives_the_same_bits(deployed: Deployed, kafka: Kafka) -> None:
    topic = f"{USE_CASE}.{uuid.uuid4().hex[:8]}"
    deployed.environment["LOCKSTEP_KAFKA"] = kafka.bootstrap
    pipeline = Pipeline.load(USE_CASE, REPOSITORY / "models").on(topic)
    create_topics(kafka.bootstrap, topics_of(pipeline))
    day = str(DAY)
    with worker(deployed, topic, kafka.bootstrap):
        words = ("replay", USE_CASE, "--from", day, "--to", day, "--topic", topic)
        replayed, again = deployed.type(*words), deployed.type(*words)
    assert replayed["sent"] == again["sent"] == len(deployed.rows())
    # The second time nothing is scored: what comes back are the answers of the first.
    assert (replayed["answered_before"], again["answered_before"]) == (0, again["sent"])
    compared = deployed.type("compare", USE_CASE, "--partition", day, "--topic", topic)
    assert (compared["rows_both"], compared["differ"]) == (len(deployed.rows()), 0)
    for ours, theirs in zip(deployed.rows("stream"), deployed.rows(), strict=True):
        # The replay began where the day's own windows begin, so that none of them lacks anything,
        # although the readings' log is far shorter than that of the outcomes.
        assert ours[-1] is False
        assert [float(v).hex() for v in ours[4]] == [float(v).hex() for v in theirs[4]], ours


def declared(deployed: Deployed) -> WindowSet:
    """The windows that the registered model itself names."""
    from lockstep.compiled_model import open_model

    digest = deployed.trained["digest"]
    data = fetch_model(deployed.settings, USE_CASE, deployed.trained["version"], digest)
    return open_model(data, digest=digest).windows


def records(name: str) -> list[Mapping[str, Any]]:
    """Events as dictionaries, times as microseconds."""
    contract, table = contracts()[name], tables()[name]
    position = table.schema.get_field_index(contract.time)
    table = table.set_column(position, contract.time, table[contract.time].cast(pa.int64()))
    return table.to_pylist()


def recent(name: str) -> list[Record]:
    """What the windows of `DAY` may see, and what came after it."""
    time = contracts()[name].time
    midnight = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000
    return [
        Record(event, available_at=event[time])
        for event in records(name)
        if midnight - 9 * DAY_US < event[time] < midnight + 2 * DAY_US
    ]


def test_it_names_no_flight() -> None:
    for folder in ("models", "schemas"):
        for path in (REPOSITORY / folder / USE_CASE).iterdir():
            if path.is_file():
                assert "flight" not in Path(path).read_text().lower(), path
