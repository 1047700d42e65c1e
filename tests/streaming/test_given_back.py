"""Of what a benchmark gives back, one service that is away keeps nothing of the other's."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic
from kafka.errors import KafkaError
from pydantic import SecretStr

from benchmarks import borrowed, faust_take
from benchmarks.stream import until
from lockstep.errors import LockstepError
from lockstep.kafka import clients
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect
from tests.small_model import small_compiled

USE_CASE = "flight_delay"


@pytest.fixture
def name(approved: Settings) -> str:
    """A deployment that has a topic and has written of it."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    admin = clients.admin(approved.kafka, "tests")
    [made] = admin.create_topics([NewTopic(f"{name}.e", 1)]).values()
    made.result()
    with closing(connect(approved, "owner", USE_CASE)) as owner:
        owner.execute("insert into streams (topic, topic_uuid) values (%s, 'u')", (f"{name}.e",))
    return name


def streams(settings: Settings, name: str) -> int:
    with closing(connect(settings, "owner", USE_CASE)) as owner:
        query = "select count(*) from streams where starts_with(topic, %s)"
        [count] = owner.execute(query, (name,)).fetchone() or (0,)
    return int(count)


def topics(settings: Settings, name: str) -> int:
    known = clients.admin(settings.kafka, "tests").list_topics(timeout=10).topics
    return sum(topic.startswith(name) for topic in known)


def test_without_kafka_the_rows_go(approved: Settings, name: str) -> None:
    away = approved.model_copy(update={"kafka": "127.0.0.1:1"})
    with pytest.raises(KafkaError):
        borrowed._give_back(away, USE_CASE, f"{name}.")
    assert (streams(approved, name), topics(approved, name)) == (0, 1)
    borrowed._give_back(approved, USE_CASE, f"{name}.")


def test_without_the_warehouse_the_topics_go(approved: Settings, name: str) -> None:
    nobody = SecretStr("postgresql://nobody:x@127.0.0.1:1/lockstep")
    with pytest.raises(LockstepError):
        borrowed._give_back(approved.model_copy(update={"owner_url": nobody}), USE_CASE, f"{name}.")
    until(lambda: topics(approved, name) == 0, "the broker has deleted it")
    assert streams(approved, name) == 1
    borrowed._give_back(approved, USE_CASE, f"{name}.")
    assert streams(approved, name) == 0


def test_the_other_subject_s_files_lie_where_the_benchmark_removes_them(
    approved: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/stream.py starts it in a folder of its own."""
    file = tmp_path / "model.onnx"
    file.write_bytes(small_compiled().model.data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Settings, "load", lambda: approved)
    app = faust_take.build(file, "events", "scored", "rows", 6066)
    assert tmp_path in Path(app.conf.datadir).parents
