"""Staging: any number of tries, the same rows; then sealed."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from psycopg import sql

from lockstep.errors import (
    ContractError,
    Fenced,
    PublishRefused,
    Transient,
    Unreachable,
    UsageError,
)
from lockstep.warehouse.attempts import read_attempt
from lockstep.warehouse.leftovers import clear_leftovers
from lockstep.warehouse.publish import publish
from lockstep.warehouse.staging import (
    STAGED,
    finish_attempt,
    latest_attempt,
    publish_id,
    stage,
)
from tests.house import DAY, A, B, scored
from tests.until import until


def count(conn, table: str) -> int:
    return conn.execute(
        sql.SQL("select count(*) from {}").format(sql.Identifier(table))
    ).fetchone()[0]


def exists(conn, table: str) -> bool:
    return conn.execute("select to_regclass(%s) is not null", (table,)).fetchone()[0]


def test_a_task_that_runs_again_changes_nothing(house):
    conn = house.connect()
    attempt = house.begin(conn, rows=100, inputs="again")
    # Whole, again, in part, and overlapping with another task's rows.
    for first, rows in ((0, 60), (0, 60), (10, 20), (50, 50), (50, 50)):
        assert stage(house.conninfo(), attempt, [scored(rows, first=first)]) == rows
    done = finish_attempt(conn, attempt)
    assert (done.state, done.staged_rows) == ("staged", 100)


def test_what_was_staged_first_stays(house):
    conn = house.connect()
    attempt = house.begin(conn, rows=5, inputs="first stays")
    stage(house.conninfo(), attempt, [scored(5, 0.25)])
    stage(house.conninfo(), attempt, [scored(5, 0.75)])
    scores = conn.execute(sql.SQL("select distinct score from {}").format(
        sql.Identifier(attempt.stage_table))).fetchall()  # fmt: skip
    assert scores == [(0.25,)]


def test_all_of_a_task_or_nothing(house):
    conn = house.connect()
    attempt = house.begin(conn, rows=10, inputs="all or nothing")

    def broken():
        yield scored(5)
        raise RuntimeError("the task died")

    with pytest.raises(RuntimeError, match="the task died"):
        stage(house.conninfo(), attempt, broken())
    assert count(conn, attempt.stage_table) == 0


def test_tasks_at_the_same_time(house):
    conn = house.connect()
    attempt = house.begin(conn, rows=4000, inputs="parallel")
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda n: stage(house.conninfo(), attempt, [scored(2000, first=n * 1000)]),
                (0, 1, 2, 2),
            )
        )
    assert finish_attempt(conn, attempt).staged_rows == 4000


def test_every_bit_survives(house):
    conn = house.connect()
    floats = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-45, 0.1, 3.4e38], np.float32)
    batch = pa.record_batch(
        {
            "event_id": [f"bit {n} é\u2028'\\" for n in range(8)],
            "event_time": pa.array([-1, 0, 1, 2, 3, 4, 5, 1_380_585_600_123_456], pa.int64()).cast(
                pa.timestamp("us", "UTC")
            ),
            "score": pa.array(floats),
            "margin": pa.array(floats[::-1]),
            "window_values": pa.array([floats.tolist()] * 8, pa.list_(pa.float32())),
        }
    )
    attempt = house.begin(conn, rows=8, inputs="bits")
    stage(house.conninfo(), attempt, pa.RecordBatchReader.from_batches(batch.schema, [batch]))
    rows = conn.cursor(binary=True).execute(
        sql.SQL("select event_id, (extract(epoch from event_time) * 1000000)::bigint, entity,"
                " float4send(score), float4send(margin), window_values from {} order by 2").format(
            sql.Identifier(attempt.stage_table))
    ).fetchall()  # fmt: skip
    assert [row[0] for row in rows] == batch.column("event_id").to_pylist()
    assert [row[1] for row in rows] == batch.column("event_time").cast(pa.int64()).to_pylist()
    assert {row[2] for row in rows} == {None}
    assert b"".join(row[3] for row in rows) == floats.astype(">f4").tobytes()
    assert b"".join(row[4] for row in rows) == floats[::-1].astype(">f4").tobytes()
    assert np.array(rows[0][5], np.float32).tobytes() == floats.tobytes()


def test_a_sealed_table_takes_no_more_rows(house):
    conn = house.connect()
    attempt = house.staged(conn, inputs="sealed")
    with pytest.raises(Fenced, match="takes no more rows") as fenced:
        stage(house.conninfo(), attempt, [scored(5, first=50)])
    assert "permission denied" in str(fenced.value)
    assert count(conn, attempt.stage_table) == 5


@pytest.mark.parametrize("rows", [4, 6])
def test_rows_that_are_missing_or_too_many(house, rows):
    conn = house.connect()
    attempt = house.begin(conn, rows=5, inputs=f"rows {rows}")
    stage(house.conninfo(), attempt, [scored(rows)])
    with pytest.raises(PublishRefused, match=f"staged {rows} rows .* its input has 5") as refused:
        finish_attempt(conn, attempt)
    assert attempt.stage_table in str(refused.value)
    with pytest.raises(PublishRefused, match="it is staging"):
        publish(conn, attempt)


def test_a_row_without_a_score(house):
    conn = house.connect()
    attempt = house.begin(conn, rows=5, inputs="no score")
    batch = scored(5).set_column(3, "score", pa.nulls(5, pa.float32()))
    with pytest.raises(PublishRefused, match=r"null value in column .score"):
        stage(house.conninfo(), attempt, [batch])


def test_the_checksum_knows_rows_and_not_their_order(house):
    conn = house.connect()

    def checksum(batches: list[pa.RecordBatch], name: str) -> str:
        attempt = house.begin(conn, rows=20, inputs=name)
        for batch in batches:
            stage(house.conninfo(), attempt, [batch])
        return finish_attempt(conn, attempt).checksum

    whole = checksum([scored(20)], "whole")
    shuffled = scored(20).take(pa.array(np.random.default_rng(0).permutation(20)))
    assert checksum([shuffled], "shuffled") == whole
    assert checksum([scored(10, first=10), scored(10)], "in parts") == whole
    minus = scored(20, 0.0).set_column(3, "score", pa.array([-0.0] * 20, pa.float32()))
    assert checksum([minus], "minus zero") != checksum([scored(20, 0.0)], "zero")
    assert checksum([scored(20, first=1)], "another row") != whole


def test_the_publish_id_is_a_function_of_what_it_names():
    one = publish_id("flights", DAY, A, "inputs")
    assert one == publish_id("flights", DAY, A, "inputs")
    others = {
        publish_id("trains", DAY, A, "inputs"),
        publish_id("flights", DAY + timedelta(days=1), A, "inputs"),
        publish_id("flights", DAY, B, "inputs"),
        publish_id("flights", DAY, A, "other"),
    }
    assert len(others | {one}) == 5


def test_an_attempt_travels_to_a_task(house):
    attempt = house.begin(house.connect(), inputs="travels")
    assert pickle.loads(pickle.dumps(attempt)) == attempt  # noqa: S301


def test_the_highest_finished_attempt_of_a_run(house):
    conn, day = house.connect(), date(2013, 5, 1)
    with pytest.raises(UsageError, match="no finished attempt"):
        latest_attempt(conn, "nightly", day)
    first = house.staged(conn, day=day, run_id="nightly")
    house.begin(conn, day=day, run_id="nightly")  # begun, not finished
    house.staged(conn, day=day, run_id="another run")
    assert latest_attempt(conn, "nightly", day) == first


def test_the_warehouse_is_down_while_staging(house):
    attempt = house.begin(house.connect(), inputs="down")
    away = "postgresql://lockstep_scorer:s3cr3t@127.0.0.1:1/lockstep"
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 does not answer") as down:
        stage(away, attempt, [scored(5)])
    assert "s3cr3t" not in str(down.value)
    assert "run the day again" in str(down.value)


def test_a_lock_that_does_not_come_is_no_refusal(house):
    """Trying again helps: a task that waited in vain must not end the day for good."""
    conn, holder = house.connect(), house.connect("owner")
    attempt = house.begin(conn, inputs="locked")
    hurried = house.conninfo().replace("-c role=", "-c lock_timeout=50ms -c role=", 1)
    with holder.transaction():
        holder.execute(f"lock table {attempt.stage_table}")
        with pytest.raises(Transient, match=r"could not take rows \(55P03\)"):
            stage(hurried, attempt, [scored(5)])
    assert stage(hurried, attempt, [scored(5)]) == 5


def test_a_column_of_another_type(house):
    conn = house.connect()
    attempt = house.begin(conn, inputs="type")
    batch = scored(2).set_column(3, "score", pa.array(["0.5", "0.75"]))
    with pytest.raises(ContractError, match="score is string, not float"):
        stage(house.conninfo(), attempt, [scored(2), batch])
    with pytest.raises(ContractError, match="no column event_time"):
        stage(house.conninfo(), attempt, [scored(2).drop_columns(["event_time"])])
    assert count(conn, attempt.stage_table) == 0


def test_staged_names_what_the_tables_hold(house):
    found = house.connect().execute(
        "select attname from pg_attribute where attrelid = 'predictions_batch'::regclass"
        " and attnum > 2 order by attnum"
    )
    assert [name for (name,) in found] == STAGED.names


# ---------------------------------------------------------------- what dead attempts leave behind

_JOB = """
import sys, time
from datetime import date
from lockstep.warehouse.connect import open_connection
from lockstep.warehouse.staging import begin_attempt
conn = open_connection(sys.stdin.readline().strip(), "x")
attempt = begin_attempt(conn, day=date(2013, 6, 1), publish_id="ab" * 16, digest="a" * 64,
    model_version=1, approval=1, input_fingerprint="i", input_rows=1, run_id="killed")
print(attempt.number, flush=True)
time.sleep(600)
"""


def test_the_table_of_a_killed_job_is_cleared_and_a_living_one_s_is_not(house):
    job = subprocess.Popen(
        [sys.executable, "-c", _JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        job.stdin.write(house.conninfo() + "\n")
        job.stdin.flush()
        number = int(job.stdout.readline())
        conn = house.connect()
        living = house.begin(house.connect(), inputs="living")
        # Of other tests' attempts some may be dead only now.
        assert number not in clear_leftovers(conn), "the job is at work"
        job.send_signal(signal.SIGKILL)
        job.wait()
        cleared: list[int] = []
        until(
            lambda: cleared.extend(clear_leftovers(conn)) or number in cleared,
            "the table of the killed job is cleared",
        )
        assert living.number not in cleared
        assert read_attempt(conn, number).state == "abandoned"
        assert not exists(conn, f"stage_{number}")
        assert exists(conn, living.stage_table)
    finally:
        job.kill()
        job.wait()
        job.stdin.close()
        job.stdout.close()


def test_a_later_attempt_clears(fresh_house):
    dead = fresh_house.connect()
    attempt = fresh_house.begin(dead)
    dead.close()
    conn = fresh_house.connect()
    number = attempt.number

    def cleared() -> bool:
        fresh_house.begin(conn)
        return not exists(conn, f"stage_{number}")

    until(cleared, "a later attempt clears what the dead one left")
    assert read_attempt(conn, number).state == "abandoned"
    with pytest.raises(PublishRefused, match="it is abandoned"):
        publish(conn, attempt)


def test_a_zombie_whose_attempt_was_given_up_is_told(fresh_house):
    gone = fresh_house.connect()
    attempt = fresh_house.begin(gone)
    gone.close()
    conn = fresh_house.connect()
    until(lambda: clear_leftovers(conn) == [attempt.number], "the attempt is given up")
    with pytest.raises(Fenced, match="takes no more rows"):
        stage(fresh_house.conninfo(), attempt, [scored(5)])
    with pytest.raises(Fenced, match="was given up by a later one"):
        finish_attempt(conn, attempt)


def test_staged_attempts_wait_until_they_are_useless(fresh_house):
    conn = fresh_house.connect()
    waiting = fresh_house.staged(conn, inputs="1", run_id="one")
    assert clear_leftovers(conn) == []
    # A retry of the same run staged the day again.
    retried = fresh_house.staged(conn, inputs="1", run_id="one")
    assert read_attempt(conn, waiting.number).state == "staged"
    assert clear_leftovers(conn) == [waiting.number]
    # A higher attempt was published.
    fresh_house.published(conn, inputs="2", run_id="two")
    assert clear_leftovers(conn) == [retried.number]
    # Age.
    old = fresh_house.staged(conn, day=DAY + timedelta(days=1))
    assert clear_leftovers(conn, keep=timedelta(days=1)) == []
    assert clear_leftovers(conn, keep=timedelta(0)) == [old.number]


def test_a_table_that_somebody_reads_is_left_for_the_next_time(fresh_house):
    conn, reader = fresh_house.connect(), fresh_house.connect()
    old = fresh_house.staged(conn)
    with reader.transaction():
        count(reader, old.stage_table)
        assert clear_leftovers(conn, keep=timedelta(0)) == []
    assert clear_leftovers(conn, keep=timedelta(0)) == [old.number]
