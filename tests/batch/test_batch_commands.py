"""lockstep score and lockstep compare, typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid

import numpy as np
import pytest

from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect
from lockstep.warehouse.partitions import ensure_stream_day
from tests.batch_house import BatchHouse
from tests.small_model import REPOSITORY


def lockstep(
    house: BatchHouse, *words: str, first_on_path: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = house.environment()
    path = os.pathsep.join(filter(None, [first_on_path, environment.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", "from lockstep.cli import main; main()", *words],
        cwd=house.root,
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def stream_what_batch_scored(house: BatchHouse, topic: str) -> None:
    """Rows of predictions_stream, as a worker that agrees with batch would have written them."""
    with connect(house.settings, "scorer", house.use_case) as connection:
        connection.autocommit = True
        ensure_stream_day(connection, house.day)
        connection.execute(
            "insert into streams (topic, topic_uuid) values (%s, %s)", (topic, uuid.uuid4().hex)
        )
        connection.execute(
            "insert into predictions_stream (event_date, stream_id, event_id, event_time, entity,"
            " score, margin, approval, kafka_partition, kafka_offset)"
            " select event_date, (select stream_id from streams where topic = %s), event_id,"
            " event_time, entity, score, margin, (select max(sequence) from approvals), 0,"
            " row_number() over () from predictions_batch where event_date = %s",
            (topic, house.day),
        )


def test_score_publishes_a_day_and_says_so_the_second_time(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    words = ("score", batch_house.use_case, "--partition", str(batch_house.day))
    first = lockstep(batch_house, *words)
    assert first.returncode == 0, first.stderr
    assert f"{table.num_rows:,} events may be scored" in first.stdout
    assert f"published {table.num_rows:,} predictions" in first.stdout
    second = lockstep(batch_house, *words, "--json")
    assert second.returncode == 0, second.stderr
    facts = json.loads(second.stdout)
    assert (facts["how"], facts["rows"]) == ("unchanged", table.num_rows)
    assert facts["partition"] == str(batch_house.day)
    assert len(batch_house.seen()) == table.num_rows


def test_a_kernel_that_differs_in_the_workers_is_told(batch_house: BatchHouse, tmp_path) -> None:
    """One bit of one sum is wrong in every Python process of the job: ONNX Runtime scores."""
    shutil.copy(REPOSITORY / "tests/wrong_kernel.py", tmp_path / "sitecustomize.py")
    table = batch_house.write_flights()
    words = ("score", batch_house.use_case, "--partition", str(batch_house.day))
    done = lockstep(batch_house, *words, first_on_path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "workers evaluate trees with onnxruntime (the compiled kernel differs" in done.stderr
    assert len(batch_house.seen()) == table.num_rows


def test_compare_counts_and_tells_the_bits_that_differ(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    words = ("compare", batch_house.use_case, "--partition", str(batch_house.day))
    nothing = lockstep(batch_house, *words)
    assert nothing.returncode != 0
    assert "nothing to compare" in nothing.stderr
    batch_house.run()
    topic = f"{batch_house.use_case}.{batch_house.day}"
    stream_what_batch_scored(batch_house, topic)
    alike = lockstep(batch_house, *words, "--json")
    assert alike.returncode == 0, alike.stderr
    facts = json.loads(alike.stdout)
    assert facts["rows_both"] == table.num_rows
    assert facts["differ"] == 0
    ((id, score),) = batch_house.query(
        "select event_id, score from predictions_stream where event_date = %s limit 1",
        batch_house.day,
    )
    neighbour = float(np.nextafter(np.float32(score), np.float32(1)))
    with connect(batch_house.settings, "owner", batch_house.use_case) as connection:
        connection.execute(
            "update predictions_stream set score = %s where event_date = %s and event_id = %s",
            (neighbour, batch_house.day, id),
        )
    other = lockstep(batch_house, *words, "--topic", topic)
    assert other.returncode == 1
    assert "1 differ" in other.stdout
    assert id in other.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("score", "no_such_case", "--partition", "2013-10-01"), 2, "no use case 'no_such_case'"),
        (("score", "USE_CASE", "--partition", "yesterday"), 2, "--partition 'yesterday' is no day"),
        (("score", "USE_CASE", "--partition", "2012-12-31"), 1, "has no partition"),
        (("compare", "no_such_case", "--partition", "2013-10-01"), 2, "no use case"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_value(
    batch_house: BatchHouse, words: tuple[str, ...], code: int, said: str
) -> None:
    done = lockstep(batch_house, *(batch_house.use_case if w == "USE_CASE" else w for w in words))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "next: " in done.stderr


def test_nothing_is_scored_before_a_model_is_approved(batch_house: BatchHouse) -> None:
    name = f"batch_{uuid.uuid4().hex[:8]}"
    migrate.upgrade(batch_house.settings, name)
    folder = batch_house.root / "models" / name
    folder.mkdir()
    (folder / "pipeline.toml").write_text(
        (batch_house.root / "models" / batch_house.use_case / "pipeline.toml")
        .read_text()
        .replace(batch_house.use_case, name)
    )
    done = lockstep(batch_house, "score", name, "--partition", str(batch_house.day))
    assert done.returncode == 1
    assert f"no model of {name} is approved" in done.stderr
    assert f"lockstep train {name}, then lockstep approve {name} VERSION" in done.stderr
