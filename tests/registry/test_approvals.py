"""The approvals table: of two at the same time one wins, and the other is told."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from lockstep.errors import Fenced, ModelRefused, Transient, UsageError
from lockstep.registry.approvals import Approval, append, current, history
from lockstep.warehouse import migrate
from lockstep.warehouse.partitions import ensure_stream_day
from lockstep.warehouse.publish import publish
from tests.house import DAY, A, B, House, evidence
from tests.until import LIMIT_S, until


def approve(
    house: House,
    after: Approval | None,
    digest: str = B,
    conn: psycopg.Connection | None = None,
    **given: object,
) -> Approval:
    return append(
        conn or house.connect("releaser"),
        **{
            "after": after,
            "model_version": 2,
            "digest": digest,
            "reason": "a test",
            "evidence": {"auc": 0.9} | evidence(digest),
            **given,
        },
    )


def test_the_highest_sequence_is_the_current_one(fresh_house):
    first = current(fresh_house.connect("releaser"))
    assert (first.sequence, first.digest) == (1, A)
    second = approve(fresh_house, first)
    assert (second.sequence, second.digest, second.evidence["auc"]) == (2, B, 0.9)
    assert second.approved_at >= first.approved_at
    # A rollback is a new approval of an older digest.
    third = approve(fresh_house, second, A, reason="back", model_version=1)
    for role in ("scorer", "releaser", "owner"):
        assert current(fresh_house.connect(role)) == third
    assert history(fresh_house.connect("scorer")) == [third, second, first]


def test_nothing_was_ever_approved(warehouse_settings):
    bare = House(warehouse_settings, f"test_bare_{uuid.uuid4().hex[:10]}")
    migrate.upgrade(bare.settings, bare.use_case)
    with bare.connect("scorer") as scorer:
        assert current(scorer) is None
    assert approve(bare, None).sequence == 1
    with pytest.raises(Fenced, match="approval 1, of version 2 came first"):
        approve(bare, None)
    for conn in bare.opened:
        conn.close()


def test_one_of_many_wins(fresh_house):
    seen = current(fresh_house.connect("releaser"))
    barrier = threading.Barrier(8)

    def one(n: int) -> Approval | Fenced:
        conn = fresh_house.connect("releaser")
        barrier.wait(LIMIT_S)
        try:
            return append(
                conn,
                after=seen,
                model_version=n,
                digest=f"{n:064x}",
                reason="all at once",
                evidence=evidence(f"{n:064x}"),
            )
        except Fenced as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(8)))
    winners = [r for r in results if isinstance(r, Approval)]
    told = [str(r) for r in results if isinstance(r, Fenced)]
    assert len(winners) == 1
    assert len(told) == 7
    assert current(fresh_house.connect("scorer")) == winners[0]
    assert all(f"of version {winners[0].model_version} came first" in text for text in told)
    assert all("yours was not recorded" in text for text in told)
    assert len(history(fresh_house.connect("scorer"))) == 2


@pytest.mark.parametrize("reason", ["", " ", "\n"])
def test_an_approval_needs_a_reason(house, reason):
    before = current(house.connect("releaser"))
    with pytest.raises(UsageError, match="needs a reason"):
        approve(house, before, reason=reason)
    assert current(house.connect("releaser")) == before


def test_an_approval_comes_wholly_before_or_after_a_publish(fresh_house):
    conn, releaser = fresh_house.connect(), fresh_house.connect("releaser")
    attempt = fresh_house.staged(conn)
    before = current(releaser)
    releaser.execute("set lock_timeout = '1min'")  # who reads waits for nobody
    order: list[str] = []
    approver = fresh_house.connect("releaser")

    def approving() -> None:
        approve(fresh_house, before, conn=approver)
        order.append("approved")

    thread = threading.Thread(target=approving)

    def approver_waits() -> bool:
        (waiting,) = releaser.execute(
            "select count(*) from pg_locks where pid = %s and not granted",
            (approver.info.backend_pid,),
        ).fetchone()
        return waiting > 0 or not thread.is_alive()

    def at(step: str) -> None:
        if step == "switched":
            thread.start()
            # For us: the publish is committed first, whatever the scheduler does.
            until(approver_waits, "the approval waits")
            assert thread.is_alive()
            assert current(releaser) == before
            order.append("published")

    publish(conn, attempt, at=at)
    thread.join(LIMIT_S)
    assert order == ["published", "approved"]
    log = conn.execute("select published_at from publish_log").fetchone()
    assert log[0] < current(releaser).approved_at


def test_an_approval_gives_up_on_a_publish_that_hangs_and_names_it(fresh_house):
    conn, releaser = fresh_house.connect(), fresh_house.connect("releaser")
    attempt, before = fresh_house.staged(conn), current(releaser)
    told: list[str] = []

    def at(step: str) -> None:
        if step == "switched":
            releaser.execute("set statement_timeout = '200ms'")
            with pytest.raises(Transient, match="could not go on") as error:
                approve(fresh_house, before, conn=releaser)
            told.append(str(error.value))

    publish(conn, attempt, at=at)
    assert f"server process {conn.info.backend_pid}, user lockstep_scorer" in told[0]
    assert f"application 'lockstep {fresh_house.use_case} scorer'" in told[0]
    assert len(history(fresh_house.connect("scorer"))) == 1


def test_nobody_who_only_reads_holds_up_an_approval_or_a_publish(fresh_house):
    """Any role can take any advisory lock, for as long as it likes: nothing here waits for one."""
    analyst, conn = fresh_house.connect("analyst"), fresh_house.connect()
    for name in ("approvals", "publish", "partition", "attempt", "migrate"):
        for suffix in ("", f" {DAY}", " 1", " predictions_stream_20131001"):
            analyst.execute(
                "select pg_advisory_lock(hashtextextended(%s, 0))",
                (f"lockstep {name} {fresh_house.use_case}{suffix}",),
            )
    with analyst.transaction():
        analyst.execute("lock table predictions in access share mode")
        assert fresh_house.published(conn).changed
        ensure_stream_day(conn, DAY)
        releaser = fresh_house.connect("releaser")
        releaser.execute("set statement_timeout = '1min'")
        assert approve(fresh_house, current(releaser), conn=releaser).sequence == 2


def test_who_approves_is_the_database_s_word(fresh_house):
    done = approve(fresh_house, current(fresh_house.connect("releaser")), given_name="Ada")
    assert (done.approver, done.given_name) == ("lockstep_releaser", "Ada")
    assert done.who == "lockstep_releaser (name given: Ada)"


@pytest.mark.parametrize(
    "certificate",
    [
        None,
        "0 of 10 margins differ",
        {},
        {"digest": A, "passed": True, "rows": 10},
        {"digest": B, "passed": False, "rows": 10},
        {"digest": B, "passed": "true", "rows": 10},
        {"digest": B, "passed": True},
        {"digest": B, "passed": True, "rows": 0},
        {"digest": B, "passed": True, "rows": "many"},
    ],
)
def test_an_approval_needs_a_certificate_of_its_digest_that_passed(house, certificate):
    before = current(house.connect("releaser"))
    with pytest.raises(ModelRefused, match=f"no certificate of {B[:12]} that passed"):
        approve(house, before, evidence={"certificate": certificate})
    assert current(house.connect("releaser")) == before
