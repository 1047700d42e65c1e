"""Publishing a day: whole or not at all, by the right attempt, and no reader waits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from lockstep.errors import PublishRefused, Transient
from lockstep.warehouse.attempts import begin_attempt, finish_attempt, read_attempt
from lockstep.warehouse.connect import answering
from lockstep.warehouse.publish import current, publish
from lockstep.warehouse.staging import stage
from tests.house import A, B, House, day_table, scored
from tests.until import LIMIT_S, until
from tests.warehouse.published import DAYS, bytes_of, day, seen

__all__ = ["day"]


def test_what_is_published_is_what_was_staged(house, day):
    conn = house.connect()
    attempt = house.staged(conn, day=day, rows=7)
    assert seen(conn, day) == (0, None, None)
    done = publish(conn, attempt)
    assert (done.how, done.before, done.changed) == ("attached", None, True)
    assert done.current.rows == 7
    assert done.current.checksum == attempt.checksum
    assert done.current.digest == A
    assert current(conn, day) == done.current
    assert seen(conn, day) == (7, 0.5, 0.5)
    assert read_attempt(conn, attempt.number).state == "published"


def test_again_it_changes_no_byte(house, day):
    conn = house.connect()
    house.published(conn, day=day)
    before = bytes_of(house, day)
    for run_id in ("run", "another"):
        attempt = house.staged(conn, day=day, run_id=run_id)
        assert not attempt.needs_scoring
        assert publish(conn, attempt).how == "unchanged"
        # Airflow may run a task again whose end it did not see.
        assert publish(conn, attempt).how == "unchanged"
    assert bytes_of(house, day) == before


def test_scored_twice_at_the_same_time_it_is_published_once(house, day):
    first, second = house.connect(), house.connect()
    attempts = []
    for conn in (first, second):  # both begin before either is published
        attempts.append((conn, house.begin(conn, day=day)))
    for conn, attempt in attempts:
        stage(house.conninfo(), attempt, [scored(5, day=day)])
        finish_attempt(conn, attempt)
    assert publish(first, attempts[0][1]).how == "attached"
    before = bytes_of(house, day)
    assert publish(second, attempts[1][1]).how == "unchanged"
    assert bytes_of(house, day) == before
    assert first.execute(
        "select to_regclass(%s)", (f"stage_{attempts[1][1].number}",)
    ).fetchone() == (None,)


def test_an_older_publish_comes_back_without_scoring(house, day):
    conn = house.connect()
    old = house.published(conn, day=day, inputs="old", score=0.25, rows=3)
    house.published(conn, day=day, inputs="new", score=0.75, rows=4)
    assert seen(conn, day) == (4, 0.75, 0.75)
    rows_before = [row for row in bytes_of(house, day) if len(row) == 3]
    attempt = house.begin(conn, day=day, inputs="old", rows=3)
    assert not attempt.needs_scoring
    back = publish(conn, attempt)
    assert (back.how, back.current.publish_id) == ("switched", old.current.publish_id)
    assert back.current.checksum == old.current.checksum
    assert seen(conn, day) == (3, 0.25, 0.25)
    assert [row for row in bytes_of(house, day) if len(row) == 3] == rows_before
    assert conn.execute(
        "select count(*) from publish_log where event_date = %s", (day,)
    ).fetchone() == (3,)


def test_a_publish_id_brings_back_no_rows_of_another_digest_or_input(house, day):
    conn = house.connect()
    done = house.published(conn, day=day).current
    given = {
        "day": day, "publish_id": done.publish_id, "digest": A, "model_version": 1, "approval": 1,
        "input_fingerprint": "inputs", "input_rows": 5, "run_id": "again",
    }  # fmt: skip
    for other in ({"digest": B, "model_version": 2}, {"input_fingerprint": "others"}):
        with pytest.raises(PublishRefused, match="another digest or input") as refused:
            begin_attempt(conn, **(given | other))
        assert "with 5 rows" in str(refused.value)
    assert not begin_attempt(conn, **given).needs_scoring


def test_a_switch_without_its_first_half_logs_no_rows_but_those_that_are_there(house, day):
    conn = house.connect()
    first = house.staged(conn, day=day, score=0.25)
    other = house.staged(conn, day=day, score=0.75)
    with conn.transaction():
        assert conn.execute("select place_publish(%s)", (first.number,)).fetchone() == (True,)
    with pytest.raises(PublishRefused, match="other rows than are held"), answering(conn):
        conn.execute("select switch_publish(%s)", (other.number,))
    assert current(conn, day) is None
    assert publish(conn, first).how == "attached"


def test_a_lower_attempt_comes_too_late(house, day):
    conn = house.connect()
    slow = house.staged(conn, day=day, inputs="slow")
    fast = house.staged(conn, day=day, inputs="fast")
    publish(conn, fast)
    before = bytes_of(house, day)
    with pytest.raises(PublishRefused, match=f"attempt {fast.number} was published") as refused:
        publish(conn, slow)
    assert "5 rows" in str(refused.value)
    assert bytes_of(house, day) == before


def test_a_lower_attempt_is_also_late_when_the_higher_found_nothing_to_do(house, day):
    conn = house.connect()
    house.published(conn, day=day, inputs="now")
    slow = house.staged(conn, day=day, inputs="before")
    house.published(conn, day=day, inputs="now")  # looked later, and found the day as it should be
    with pytest.raises(PublishRefused, match="came too late"):
        publish(conn, slow)
    assert current(conn, day).input_fingerprint == "now"


def test_other_days_do_not_matter(house, day):
    conn = house.connect()
    waiting = house.staged(conn, day=day)
    house.published(conn, day=next(DAYS))
    assert publish(conn, waiting).how == "attached"


def test_an_approval_that_moved_on_in_the_meantime(fresh_house, day):
    conn = fresh_house.connect()
    house = fresh_house
    house.published(conn, day=day, inputs="before")
    attempt = house.staged(conn, day=day, inputs="after")
    house.approve(B, version=2)
    before = bytes_of(house, day)
    with pytest.raises(PublishRefused) as refused:
        publish(conn, attempt)
    text = str(refused.value)
    assert "version 1 (digest aaaaaaaaaaaa)" in text
    assert "approval 2 names version 2 (digest bbbbbbbbbbbb)" in text
    assert "run the day again" in text
    assert bytes_of(house, day) == before
    # A new approval of the same digest changes nothing about who may publish.
    house.approve(A)
    house.approve(A)
    assert publish(conn, attempt).how == "attached"


def test_nothing_was_ever_approved(warehouse_settings, day):
    from lockstep.warehouse import migrate

    house = House(warehouse_settings, f"test_unapproved_{day:%j}")
    migrate.upgrade(house.settings, house.use_case)
    with house.connect() as conn:
        attempt = house.staged(conn, day=day)
        with pytest.raises(PublishRefused, match="nothing is approved"):
            publish(conn, attempt)


def test_attaching_reads_no_row(house, day):
    """Postgres says itself that the checks spare it the scan; without them it does not."""
    conn = house.connect()
    attempt = house.staged(conn, day=day)
    notices: list[str] = []
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    conn.execute("set client_min_messages = debug1")
    publish(conn, attempt)
    implied = "is implied by existing constraints"
    assert any(implied in notice for notice in notices), notices
    notices.clear()
    owner = house.connect("owner")
    owner.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    owner.execute("set client_min_messages = debug1")
    owner.execute(f"create table unchecked_{day:%j} (like predictions_batch)")
    owner.execute(
        f"alter table {day_table('predictions_batch', day)} attach partition unchecked_{day:%j}"
        " for values in ('unchecked')"
    )
    assert notices
    assert not any(implied in notice for notice in notices)
    # Its index is taken over, not built again.
    assert conn.execute(
        "select count(*) from pg_inherits where inhrelid = %s::regclass",
        (f"stage_{attempt.number}_pkey",),
    ).fetchone() == (1,)


# ------------------------------------------------------------------------------- readers


@pytest.fixture
def reading(house, day):
    """A published day, and an analyst in the middle of a REPEATABLE READ transaction on it."""
    house.published(house.connect(), day=day, inputs="old", score=0.25, rows=50)
    reader = house.connect("analyst")
    reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with reader.transaction():
        assert seen(reader, day) == (50, 0.25, 0.25)
        yield reader


def test_a_reader_neither_waits_nor_makes_wait(house, day, reading):
    conn, another = house.connect(), house.connect("analyst")
    # Who did wait would wait for us, and longer than that.
    reading.execute("set local statement_timeout = '1min'")
    for session in (conn, another):
        session.execute("set lock_timeout = '1min'")
    states: list[tuple] = []

    def at(step: str) -> None:
        # While the publish holds all its locks, old and new readers get through.
        if step == "switched":
            states.extend((seen(reading, day), seen(another, day)))

    attempt = house.staged(conn, day=day, inputs="new", score=0.75, rows=60)
    publish(conn, attempt, at=at)
    assert states == [(50, 0.25, 0.25)] * 2
    assert seen(reading, day) == (50, 0.25, 0.25)  # its snapshot, to its end
    assert seen(another, day) == (60, 0.75, 0.75)


def test_control_swapping_a_partition_waits_for_the_reader(house, day, reading):
    """What is avoided: detach the old partition, attach the new one."""
    conn = house.connect("owner")
    conn.execute("set lock_timeout = '200ms'")
    old = f"{day_table('predictions_batch', day)}_{current(conn, day).publish_id}"
    with pytest.raises(LockNotAvailable):
        conn.execute(f"alter table {day_table('predictions_batch', day)} detach partition {old}")
    with pytest.raises(LockNotAvailable):
        conn.execute(f"alter table {old} rename to out_of_the_way")


def test_an_analysts_snapshot_comes_before_its_plan(house):
    """A plan older than its snapshot would look for a new publish where it was not yet."""
    for role, level in (("analyst", "repeatable read"), ("scorer", "read committed")):
        found = house.connect(role).execute("show transaction_isolation").fetchone()
        assert found == (level,)


def test_readers_see_one_publish_or_the_other(house, day):
    conn = house.connect()
    house.published(conn, day=day, inputs="0", score=0.0, rows=200)
    stop, views, readers = threading.Event(), [], [house.connect("analyst") for _ in range(2)]

    def read(reader: psycopg.Connection) -> None:
        while not stop.is_set():
            views.append(seen(reader, day))

    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(read, reader) for reader in readers]
        try:
            for n in range(1, 9):
                house.published(conn, day=day, inputs=str(n), score=n / 8, rows=200 + n)
        finally:
            stop.set()
        for done in reads:
            done.result()
    assert {view[0] for view in views} <= set(range(200, 209))
    torn = [view for view in views if (view[1], view[2]) != ((view[0] - 200) / 8,) * 2]
    assert not torn
    assert len(views) > 10


def test_a_day_that_is_being_published_makes_the_other_wait_its_turn(house, day):
    """Two publishes of a day come one after the other; the lower one is refused."""
    low, high, watcher = house.connect(), house.connect(), house.connect()
    first = house.staged(low, day=day, inputs="low")
    second = house.staged(high, day=day, inputs="high")
    entered, results = threading.Event(), []

    def publish_low() -> None:
        entered.wait(LIMIT_S)
        try:
            publish(low, first)
        except PublishRefused as error:
            results.append(error)

    thread = threading.Thread(target=publish_low)
    thread.start()

    def low_waits() -> bool:
        (waiting,) = watcher.execute(
            "select count(*) from pg_locks where pid = %s and not granted", (low.info.backend_pid,)
        ).fetchone()
        return waiting > 0 or not thread.is_alive()

    def at(step: str) -> None:
        # The last transaction's: between the two, the lower one may go first, unrefused.
        if step == "switched":
            entered.set()
            until(low_waits, "the lower one waits for its turn")

    publish(high, second, at=at)
    thread.join(LIMIT_S)
    assert len(results) == 1
    assert current(high, day).publish_id == second.publish_id


def test_a_lock_that_does_not_come_is_transient(house, day, monkeypatch):
    conn, holder = house.connect(), house.connect()
    attempt = house.staged(conn, day=day)
    with holder.transaction():
        holder.execute(f"select count(*) from {attempt.stage_table}")

        def at(step: str) -> None:
            if step == "place":
                conn.execute("set local lock_timeout = '100ms'")

        with pytest.raises(Transient, match="lock timeout") as told:
            publish(conn, attempt, at=at)
    assert f"server process {holder.info.backend_pid}, user lockstep_scorer" in str(told.value)
    assert f"select pg_terminate_backend({holder.info.backend_pid})" in str(told.value)
    assert current(conn, day) is None
    assert publish(conn, attempt).how == "attached"
