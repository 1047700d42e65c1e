"""pipeline.toml: every key is judged, each file alone, and a topic belongs to one use case."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pendulum
import pytest
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from hypothesis import given
from hypothesis import strategies as st

from lockstep import pipeline
from lockstep.cron import cron_fault
from lockstep.errors import UsageError
from lockstep.launch import tell_of_refused
from lockstep.pipeline import Pipeline
from lockstep.typed_toml import Rule, read_toml
from tests.small_model import REPOSITORY

ORIGINAL = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()


def deploy(root: Path, name: str, *edits: tuple[str, str], topics: str = "") -> Path:
    """models/NAME/pipeline.toml of a good use case with topics of its own, edited."""
    folder = root / "models" / name
    folder.mkdir(parents=True)
    text = ORIGINAL.replace('use_case = "flight_delay"', f'use_case = "{name}"')
    text = text.replace('"flight_delay.', f'"{topics or name}.')
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (folder / "pipeline.toml").write_text(text)
    return root / "models"


WRONG = [
    # (what stands there, what is written instead, the key, what is said)
    ('use_case = "one"', 'use_case = "One-1"', "use_case", "lower-case letters"),
    ('use_case = "one"', "use_case = 7", "use_case", "a text in quotes"),
    ('use_case = "one"', 'use_case = "public"', "use_case", "has that name already"),
    ('use_case = "one"', 'use_case = "other"', "use_case", "the folder is 'one'"),
    ("flight_departures", "../elsewhere", "lake_table", "folder of the lake"),
    ('"one.events"', '"one events"', "topics.events", "no name for a topic"),
    ('"one.events"', '""', "topics.events", "no name for a topic"),
    ('"one.events"', '".."', "topics.events", "no name for a topic"),
    ('"one.scored"', '"one.events"', "topics.scored", "topics.events already"),
    ('"one.scored"', '"one_events"', "topics.scored", "topics.events already"),
    ('"one.arrivals"', '"one.control"', "state.flight_arrivals", "topics.control already"),
    ("flight_arrivals =", "flight_departures =", "state.flight_departures", "leave it out"),
    ('"one.arrivals"', "5", "state", "has 5 for flight_arrivals"),
    ("partitions = 4", "partitions = 0", "topics.partitions", "1 to 10,000"),
    ("partitions = 4", "partitions = true", "topics.partitions", "a whole number"),
    ("partitions = 4", "partitions = 4.0", "topics.partitions", "a whole number"),
    ("2013-01-02", "2013-01-02T00:00:00Z", "batch.start", "without a time"),
    ("2013-01-02", '"2013-01-02"', "batch.start", "without quotes"),
    ("2014-01-01", "2012-12-31", "batch.end", "no day to score"),
    ("start = 2013-01-02", "", "batch.start", "is missing"),
    ('"@daily"', '"every day"', "batch.schedule", "no schedule"),
    ('"@daily"', '"0 0 31 2 *"', "batch.schedule", "no month of '2' has a day '31'"),
    ('"@daily"', '"0 24 * * *"', "batch.schedule", "hour '24'"),
    ("catchup = false", "catchup = 0", "batch.catchup", "true or false"),
    ("min_rows = 50", "min_rows = 3000", "batch.gates.min_rows", "above max_rows = 2,000"),
    ("max_null_fraction = 0.5", "max_null_fraction = nan", "batch.gates.max_null_fraction", "0 to"),
    ("max_null_fraction = 0.5", "max_null_fraction = 50", "batch.gates.max_null_fraction", "0 to"),
    ("temp = 1.0", "temp = -0.1", "batch.gates.max_null_fractions", "has -0.1 for temp"),
    ("temp = 1.0", '"k\\u0000" = 5', "batch.gates.max_null_fractions", r"has 5 for 'k\x00'"),
    ("min_mean_score = 0.02", "min_mean_score = 2", "batch.gates.min_mean_score", "no day could"),
    ("max_mean_score = 0.9", "max_mean_score = inf", "batch.gates.max_mean_score", "a number of"),
    ("max_batch = 2048", "max_batch = 0", "stream.max_batch", "1 to 20,000"),
    ("max_batch = 2048", "max_bacth = 2048", "stream.max_bacth", "did you mean max_batch?"),
    ("approval_poll_s = 1.0", "approval_poll_s = 0", "stream.approval_poll_s", "0.01 to"),
    ('"CreateTime"', '"createtime"', "stream.timestamps", "LogAppendTime, CreateTime"),
    ("[stream]", "[streams]", "streams", "did you mean stream?"),
    ("[state]", '[landing]\nschedule = "* * *"\n[state]', "landing.schedule", "five fields"),
    ("[state]", "[landing]\nmax_age_d = 0.2\n[state]", "landing.max_age_d", "that never land"),
    ("[topics]", "[[topics]]", "topics", "not a table"),
]


@pytest.mark.parametrize(("old", "new", "key", "said"), WRONG)
def test_what_is_wrong_is_named_with_file_key_and_value(
    tmp_path: Path, old: str, new: str, key: str, said: str
) -> None:
    models = deploy(tmp_path, "one", (old, new))
    with pytest.raises(UsageError) as refused:
        Pipeline.load("one", models)
    text = str(refused.value)
    assert f"{models}/one/pipeline.toml: " in text
    assert key in text
    assert said in text
    assert "next: " in text


@pytest.mark.parametrize(
    "content", [b"\xff", b"a = ", b"a = " + b"[" * 9000, b"a = " + b"9" * 9000, b"a = 2013-13-40"]
)
def test_what_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    models = deploy(tmp_path, "one")
    (models / "one/pipeline.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"one/pipeline\.toml is not TOML"):
        Pipeline.load("one", models)


def test_a_pipeline_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    models = deploy(tmp_path, "one")
    (models / "two/pipeline.toml").mkdir(parents=True)
    good, refused = Pipeline.load_all(models)
    assert list(good) == ["one"]
    assert "two/pipeline.toml cannot be read: Is a directory" in str(refused["two"])


def test_every_key_has_a_rule_whose_example_it_takes() -> None:
    def judged(kind: type) -> int:
        count = 0
        for name, declared in get_type_hints(kind, include_extras=True).items():
            if is_dataclass(declared):
                count += judged(declared)
                continue
            rules = [part for part in get_args(declared) if isinstance(part, Rule)]
            assert len(rules) == 1, f"{kind.__name__}.{name}"
            count += 1
        return count

    assert judged(Pipeline) > 25
    assert {f.name for f in fields(Pipeline)} >= {"topics", "batch", "stream", "state"}


def test_each_is_read_alone_and_the_wrong_one_is_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        models = deploy(tmp_path, name)
    deploy(tmp_path, "broken", ("max_batch = 2048", "max_batch = 'many'"))
    deploy(tmp_path, "Wrong-Folder")
    good, refused = Pipeline.load_all(models)
    assert list(good) == ["one", "two"]
    assert "broken/pipeline.toml: stream.max_batch is 'many'" in str(refused["broken"])
    assert "rename the folder" in str(refused["Wrong-Folder"])


def test_a_copied_folder_is_refused_and_the_original_stays(tmp_path: Path) -> None:
    models = deploy(tmp_path, "original")
    (models / "copied").mkdir()
    text = (models / "original/pipeline.toml").read_text()
    (models / "copied/pipeline.toml").write_text(text)
    good, refused = Pipeline.load_all(models)
    assert list(good) == ["original"]
    assert "use_case is 'original', but the folder is 'copied'" in str(refused["copied"])
    # Renamed, it still has the topics of the original.
    (models / "copied/pipeline.toml").write_text(
        text.replace('use_case = "original"', 'use_case = "copied"')
    )
    good, refused = Pipeline.load_all(models)
    assert list(good) == ["original"]
    told = str(refused["copied"])
    assert "copied/pipeline.toml: topics.events is 'original.events'" in told
    assert "original/pipeline.toml has as topics.events" in told
    assert 'write topics.events = "copied.events"' in told


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (('"two.scored"', '"shared.events"'), "topics.scored"),
        (('"two.arrivals"', '"shared.events"'), "state.flight_arrivals"),
        (('"two.control"', '"shared_events"'), "topics.control"),
    ],
)
def test_a_topic_of_nobody_s_name_is_refused_to_both(
    tmp_path: Path, edit: tuple[str, str], key: str
) -> None:
    deploy(tmp_path, "one", ('"one.events"', '"shared.events"'))
    deploy(tmp_path, "two", edit)
    models = deploy(tmp_path, "three")
    good, refused = Pipeline.load_all(models)
    assert list(good) == ["three"]
    for error in refused.values():
        assert f"{models}/one/pipeline.toml" in str(error)
        assert f"{models}/two/pipeline.toml" in str(error)
    assert key in str(refused["two"])


def test_a_use_case_that_is_refused_has_no_topics(tmp_path: Path) -> None:
    deploy(tmp_path, "broken", ("partitions = 4", "partitions = -1"), topics="shared")
    models = deploy(tmp_path, "one", topics="shared")
    assert list(Pipeline.load_all(models)[0]) == ["one"]


def test_each_file_is_read_once_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three", "four"):
        models = deploy(tmp_path, name)
    read: list[str] = []

    def counted(kind: type, path: Path) -> object:
        read.append(path.parent.name)
        return read_toml(kind, path)

    monkeypatch.setattr(pipeline, "read_toml", counted)
    assert len(Pipeline.load_all(models)[0]) == 4
    assert sorted(read) == Pipeline.use_cases(models)
    read.clear()
    tell_of_refused(tmp_path)
    assert sorted(read) == Pipeline.use_cases(models), "for three DAGs each"


def test_a_folder_whose_name_steers_terminals_is_named(tmp_path: Path) -> None:
    models = deploy(tmp_path, "a\x1b[2J")
    (error,) = Pipeline.load_all(models)[1].values()
    assert r"models/a\x1b[2J/pipeline.toml: the folder" in str(error)
    with pytest.raises(UsageError) as unknown:
        Pipeline.load("one", models)
    for text in (str(error), str(unknown.value)):
        assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "@daily",
        "*/15 * * * *",
        "30 6 * * 1-5",
        "0 0 29 2 *",
        "0 0 1,15 jan-jun/2 *",
        "5/20 * * * 0",
    ],
)
def test_a_schedule_that_is_taken_is_taken_by_airflow(text: str) -> None:
    assert cron_fault(text) is None
    assert_airflow_takes(text)


_PART = st.one_of(
    st.just("*"),
    st.integers(0, 60).map(str),
    st.builds("{}-{}".format, st.integers(0, 32), st.integers(0, 60)),
    st.builds("*/{}".format, st.integers(0, 70)),
    st.builds("{},{}".format, st.integers(0, 32), st.sampled_from(["jan", "dec", "sun", "7", "x"])),
    st.builds("{}/{}".format, st.integers(0, 32), st.integers(1, 9)),
)


@given(st.lists(_PART, min_size=5, max_size=5).map(" ".join))
def test_no_schedule_that_is_taken_is_refused_by_airflow_later(text: str) -> None:
    if cron_fault(text) is None:
        assert_airflow_takes(text)


def assert_airflow_takes(text: str) -> None:
    schedule = CronDataIntervalTimetable(text, "UTC")
    schedule.validate()
    begin = pendulum.datetime(2013, 1, 1)
    restriction = TimeRestriction(earliest=begin, latest=None, catchup=True)
    found = schedule.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert found is not None
