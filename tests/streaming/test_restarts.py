"""Brokers and databases restart under a worker with windows, again and again.

Each round: events are on their way, something happens to a service, it comes back. The worker
must not end, and when it is over must have answered everything, once, with the windows that batch
would give or a mark that says it has not. `make test` does a round or two, `make faults` all.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import psycopg
import pytest

from lockstep.errors import Transient
from lockstep.local.home import Home, silent
from lockstep.local.kafka.broker import Kafka
from lockstep.local.loopback import port_is_free
from lockstep.local.postgres.server import Postgres
from lockstep.local.process import descendants
from lockstep.local.service import running_pid, stop
from lockstep.settings import Settings
from streaming.replay import Recorded
from tests.streaming.cluster import SecondBroker, second_broker
from tests.streaming.deployment import Deployment, Worker, environment_of
from tests.streaming.windowed import USE_CASE, expected, one_day, records_of, send, stored
from tests.until import until

DAYS = (date(2013, 1, 4), date(2013, 1, 12))
LIMIT_S = 240

Fault = Callable[[Worker], None]


class Service:
    """One of the session's services: what may happen to it. Each fault ends with it being back."""

    def __init__(self, home: Home, name: str, server: Kafka | Postgres) -> None:
        self.name, self._home, self._server = name, home, server

    def _start(self) -> None:
        self._server.start(silent)

    def _pids(self) -> list[int]:
        pid = running_pid(self._home, self.name)
        assert pid is not None
        return [pid, *descendants(pid)]

    def restarts(self, _: Worker) -> None:
        stop(self._home, [self.name])
        self._start()

    def is_killed(self, _: Worker) -> None:
        for pid in self._pids():
            os.kill(pid, signal.SIGKILL)
        # A process is gone before the last of its threads lets go of its port.
        until(lambda: port_is_free(self._server.port), f"{self.name} is gone")
        self._start()

    def is_away(self, worker: Worker) -> None:
        """Until the worker has noticed, and says so."""
        stop(self._home, [self.name])
        try:
            says_that_it_waits(worker)
        finally:
            self._start()

    def freezes(self, worker: Worker) -> None:
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            says_that_it_waits(worker)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def says_that_it_waits(worker: Worker) -> None:
    def waits() -> bool:
        page = worker.page("ready")
        assert worker.process.poll() is None, worker.log.read_text()[-6000:]
        return bool(page and "waiting" in str(page["conditions"].values()))

    until(waits, "the worker says that it waits")


@pytest.fixture
def broker(stack_home: Home, windowed_approved: Settings) -> Service:
    return Service(stack_home, "kafka", Kafka(stack_home))


@pytest.fixture
def database(stack_home: Home, windowed_approved: Settings) -> Service:
    return Service(stack_home, "postgres", Postgres(stack_home))


@pytest.fixture
def second(stack_home: Home, windowed_approved: Settings) -> Iterator[SecondBroker]:
    with second_broker(stack_home) as broker:
        yield broker


@pytest.fixture
def spread(
    windowed_approved: Settings, second: SecondBroker, tmp_path: Path
) -> Iterator[Deployment]:
    """Half of the events, of the state and of the answers is on the second broker."""
    environment = environment_of(windowed_approved)
    made = Deployment(windowed_approved, environment, tmp_path, USE_CASE, brokers=(1, 2))
    yield made
    made.stop()
    made.admin.delete_topics([made.events, made.scored, made.arrivals])


def of_the_way_to(second: SecondBroker) -> list[Fault]:
    """What may happen between the worker and a partition's leader, which is well."""
    proxy = second.proxy

    def is_cut(worker: Worker) -> None:
        proxy.cut()
        says_that_it_waits(worker)
        proxy.mend()

    def hangs(worker: Worker) -> None:
        proxy.freeze()
        says_that_it_waits(worker)
        proxy.mend()

    def is_half_open(_: Worker) -> None:
        proxy.lose()

    def is_slow(worker: Worker) -> None:
        proxy.slow(0.1)

    return [is_cut, hangs, is_half_open, is_slow]


def settled(deployment: Deployment) -> int:
    try:
        return deployment.settled()
    except (Transient, psycopg.Error):
        return -1  # the database is what is away


def go_through(
    deployment: Deployment, records: Sequence[Recorded], faults: Sequence[Fault]
) -> Worker:
    """A fault a round, each in the middle of its share of the records."""
    deployment.limit_batches(20)
    worker = deployment.worker().ready()
    share, total = -(-len(records) // len(faults)), 0
    for number, fault in enumerate(faults):
        part = records[number * share : (number + 1) * share]
        before, total = total, total + sum(record.scored for record in part)
        send(deployment, part)
        until(lambda before=before: settled(deployment) > before, "the round has begun")
        fault(worker)

        def done(total: int = total) -> bool:
            assert worker.process.poll() is None, worker.log.read_text()[-6000:]
            return settled(deployment) == total

        what = f"round {number}, {fault.__qualname__}: every event is settled"
        until(done, what, LIMIT_S)
        worker.ready()
        print("round", number, fault.__qualname__, "passed", flush=True)
    return worker


def require_whole(deployment: Deployment, records: Sequence[Recorded]) -> dict[str, int]:
    """Nothing lost, doubled, or other than it should be without a mark; the counts."""
    scored = [record.key for record in records if record.scored]
    rows, truth, answers = stored(deployment), expected(records), deployment.answers()
    assert set(rows) == set(scored)
    assert {answer["event_id"] for answer in answers} == set(scored)
    said = {(a["event_id"], a["score"], a["margin"]) for a in answers}
    assert len(said) == len(rows), "an event was answered in two ways"
    assert not [n for n, row in rows.items() if not row[2] and row[0] != truth.windows[n]]
    assert not [n for n, row in rows.items() if not row[2] and row[1] != truth.answers[n]]
    assert not deployment.letters()
    again = Counter(answer["event_id"] for answer in answers)
    return {
        "events": len(rows),
        # Of the first hours the log does not hold all that their windows see.
        "marked incomplete": sum(rows[name][2] for name in one_day(records)),
        "answered again": sum(count - 1 for count in again.values()),
    }


def in_turn(kinds: Sequence[Fault], times: int) -> list[Fault]:
    return [kinds[number % len(kinds)] for number in range(times)]


@pytest.mark.parametrize("times", [2])
def test_broker_restarts_end_no_worker(
    windowed_deployment: Deployment, january: str, broker: Service, times: int
) -> None:
    records = records_of(windowed_deployment, january, DAYS[0], DAYS[0])
    kinds = [broker.is_killed, broker.is_away]
    worker = go_through(windowed_deployment, records, in_turn(kinds, times))
    assert worker.drain() == 0
    require_whole(windowed_deployment, records)


@pytest.mark.long
@pytest.mark.timeout(10_000)
def test_fifty_troubles_of_brokers_end_no_worker(
    spread: Deployment, january: str, broker: Service, second: SecondBroker
) -> None:
    """Stopped, killed, frozen, away; the leader of half of everything alone, and the way to it."""
    records = records_of(spread, january, *DAYS)
    other = Service(second.home, "kafka-second", second)
    kinds = [
        *(broker.is_killed, broker.restarts, broker.freezes, broker.is_away),
        *(other.is_killed, other.is_away, other.freezes, other.restarts),
        *of_the_way_to(second),
    ]
    worker = go_through(spread, records, in_turn(kinds, 50))
    assert worker.drain() == 0
    print("50 troubles of brokers:", require_whole(spread, records))


def test_database_restarts_end_no_worker(
    windowed_deployment: Deployment, january: str, database: Service
) -> None:
    records = records_of(windowed_deployment, january, DAYS[0], DAYS[0])
    worker = go_through(windowed_deployment, records, [database.is_killed, database.is_away])
    assert worker.drain() == 0
    require_whole(windowed_deployment, records)


@pytest.mark.long
@pytest.mark.timeout(10_000)
def test_twenty_troubles_of_the_database_end_no_worker(
    windowed_deployment: Deployment, january: str, database: Service
) -> None:
    records = records_of(windowed_deployment, january, *DAYS)
    kinds = [database.is_killed, database.freezes, database.restarts, database.is_away]
    worker = go_through(windowed_deployment, records, in_turn(kinds, 20))
    assert worker.drain() == 0
    print("20 troubles of the database:", require_whole(windowed_deployment, records))


@pytest.mark.parametrize("service", ["broker", "database"])
def test_control_without_patience_it_ends(
    windowed_deployment: Deployment,
    january: str,
    service: str,
    request: pytest.FixtureRequest,
) -> None:
    """The same worker, which takes the first error for the last."""
    away: Service = request.getfixturevalue(service)
    windowed_deployment.limit_batches(20)
    windowed_deployment.environment |= {"FAULT": "impatient", "FAULT_AFTER": "0"}
    worker = windowed_deployment.worker(main="tests.streaming.faulty_worker").ready()
    records = records_of(windowed_deployment, january, DAYS[0], DAYS[0])
    send(windowed_deployment, records[: len(records) // 2])
    until(lambda: windowed_deployment.settled() > 0, "the round has begun")
    away.is_killed(worker)
    # All of that may be settled by then: now it has something to do.
    send(windowed_deployment, records[len(records) // 2 :])
    code, _ = worker.end()
    assert code == 1
