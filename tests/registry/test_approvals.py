"""The approvals table: of two at the same time one wins, and the other is told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lockstep.errors import Fenced, Transient, UsageError
from lockstep.registry.approvals import Approval, append, current, history
from lockstep.warehouse import migrate
from lockstep.warehouse.publish import publish
from tests.house import A, B, House


def approve(house: House, after: Approval | None, digest: str = B, **given: object) -> Approval:
    return append(
        house.connect("releaser"),
        **{
            "after": after,
            "model_version": 2,
            "digest": digest,
            "approver": "someone",
            "reason": "a test",
            "evidence": {"auc": 0.9},
            **given,
        },
    )


def test_the_highest_sequence_is_the_current_one(fresh_house):
    first = current(fresh_house.connect("releaser"))
    assert (first.sequence, first.digest) == (1, A)
    second = approve(fresh_house, first)
    assert (second.sequence, second.digest, second.evidence) == (2, B, {"auc": 0.9})
    assert second.approved_at >= first.approved_at
    # A rollback is a new approval of an older digest.
    third = approve(fresh_house, second, A, reason="back", model_version=1)
    for role in ("scorer", "releaser", "owner"):
        assert current(fresh_house.connect(role)) == third
    assert history(fresh_house.connect("scorer")) == [third, second, first]


def test_nothing_was_ever_approved(warehouse_settings):
    bare = House(warehouse_settings, "test_bare_approvals")
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
        barrier.wait(30)
        try:
            return append(
                conn,
                after=seen,
                model_version=n,
                digest=f"{n:064x}",
                approver=f"approver {n}",
                reason="all at once",
                evidence={},
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


@pytest.mark.parametrize(("name", "value"), [("approver", " "), ("reason", ""), ("reason", "\n")])
def test_an_approval_needs_a_name_and_a_reason(house, name, value):
    before = current(house.connect("releaser"))
    with pytest.raises(UsageError, match=f"needs a {name}"):
        approve(house, before, **{name: value})
    assert current(house.connect("releaser")) == before


def test_an_approval_comes_wholly_before_or_after_a_publish(fresh_house):
    conn, releaser = fresh_house.connect(), fresh_house.connect("releaser")
    attempt = fresh_house.staged(conn)
    before = current(releaser)
    releaser.execute("set lock_timeout = '100ms'")
    order: list[str] = []
    started, done = threading.Event(), threading.Event()

    def approving() -> None:
        started.set()
        approve(fresh_house, before)
        order.append("approved")
        done.set()

    thread = threading.Thread(target=approving)

    def at(step: str) -> None:
        if step == "current":
            thread.start()
            assert started.wait(30)
            # It waits for us: the publish is committed first, whatever the scheduler does.
            assert not done.is_set()
        if step == "commit":
            assert current(releaser) == before
            order.append("published")

    publish(conn, attempt, at=at)
    thread.join(30)
    assert order == ["published", "approved"]
    log = conn.execute("select published_at from publish_log").fetchone()
    assert log[0] < current(releaser).approved_at


def test_an_approval_gives_up_on_a_publish_that_hangs(fresh_house):
    from lockstep.warehouse.publish import APPROVALS_LOCK

    holder = fresh_house.connect()
    releaser = fresh_house.connect("releaser")
    with holder.transaction():
        holder.execute(f"select pg_advisory_xact_lock_shared({APPROVALS_LOCK})")
        releaser.execute("set statement_timeout = '200ms'")
        with pytest.raises(Transient, match="could not go on"):
            append(
                releaser,
                after=current(fresh_house.connect("scorer")),
                model_version=2,
                digest=B,
                approver="me",
                reason="why",
                evidence={},
            )
    assert len(history(fresh_house.connect("scorer"))) == 1
