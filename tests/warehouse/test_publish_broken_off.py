"""A publish that is broken off, at any step: whole as it was, and again works."""

from __future__ import annotations

import signal
import subprocess
import sys

import psycopg
import pytest

from lockstep.errors import Unreachable
from lockstep.warehouse.publish import current, publish
from tests.warehouse.published import bytes_of, day, seen

__all__ = ["day"]

_PUBLISHER = """
import os, signal, sys
from lockstep.warehouse.attempts import read_attempt
from lockstep.warehouse.connect import open_connection
from lockstep.warehouse.publish import publish
info, number, fatal = sys.stdin.read().split("\\n")
conn = open_connection(info, "x")
steps = []
def at(step):
    steps.append(step)
    if len(steps) == int(fatal):
        os.kill(os.getpid(), signal.SIGKILL)
publish(conn, read_attempt(conn, int(number)), at=at)
"""
STEPS = ("place", "placed", "attached", "told", "switch", "switched", "committed")


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_killed_at_any_step(house, day, number):
    step = STEPS[number - 1]
    conn = house.connect()
    old = house.published(conn, day=day, inputs="old", score=0.25)
    before = bytes_of(house, day)
    attempt = house.staged(conn, day=day, inputs="new", score=0.75, rows=6)
    died = subprocess.run(
        [sys.executable, "-c", _PUBLISHER],
        input=f"{house.conninfo()}\n{attempt.number}\n{number}",
        text=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    if step == "committed":
        assert seen(conn, day) == (6, 0.75, 0.75)
        after = bytes_of(house, day)
        assert publish(conn, attempt).how == "unchanged"
        assert bytes_of(house, day) == after
        return
    # Whole as it was, and again works. Waiting for the dead one's locks is part of it.
    assert current(conn, day) == old.current
    assert seen(conn, day)[1:] == (0.25, 0.25)
    if number < STEPS.index("attached") + 1:
        assert bytes_of(house, day) == before
    else:  # attached, where no reader looks
        assert [kept for kept in before if kept not in bytes_of(house, day)] == []
    assert publish(conn, attempt).how == "attached"
    assert seen(conn, day) == (6, 0.75, 0.75)


@pytest.mark.parametrize("step", ["placed", "switched"])
def test_the_warehouse_goes_away_in_the_middle(house, day, step, postgres):
    conn, other = house.connect(), house.connect()
    attempt = house.staged(conn, day=day)
    pid = conn.info.backend_pid

    def at(now: str) -> None:
        if now == step:
            with psycopg.connect(postgres.url("lockstep_admin")) as admin:
                admin.execute("select pg_terminate_backend(%s, 10000)", (pid,))

    with pytest.raises(Unreachable, match="stopped answering"):
        publish(conn, attempt, at=at)
    assert current(other, day) is None
    assert publish(other, attempt).how == "attached"


def test_every_step_is_one_that_was_killed(house, day):
    conn, steps = house.connect(), []
    publish(conn, house.staged(conn, day=day), at=steps.append)
    assert tuple(steps) == STEPS
