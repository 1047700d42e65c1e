"""SIGTERM and SIGINT at any moment of a start: nothing is in hand, and the exit code is 0."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import date
from pathlib import Path

import pytest

from lockstep.local.home import free_port
from tests.streaming.deployment import Deployment, Worker
from tests.streaming.windowed import records_of, send
from tests.until import LIMIT_S, until

DAY = date(2013, 1, 10)


def nothing_listens() -> str:
    return f"127.0.0.1:{free_port()}"


def require_stopped(worker: Worker, number: signal.Signals = signal.SIGTERM) -> None:
    worker.process.send_signal(number)
    assert worker.process.wait(LIMIT_S) == 0, worker.log.read_text()[-4000:]
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_it_waits_for_the_warehouse(deployment: Deployment, number: signal.Signals) -> None:
    url = f"postgresql://lockstep_scorer:x@{nothing_listens()}/lockstep"
    deployment.environment["LOCKSTEP_SCORER_URL"] = url
    worker = deployment.worker()
    until(lambda: "waiting: the warehouse" in worker.log.read_text(), "it says that it waits")
    require_stopped(worker, number)
    assert "stopped while waiting for model: the warehouse" in worker.log.read_text()


def test_while_it_waits_for_kafka(deployment: Deployment) -> None:
    deployment.environment["LOCKSTEP_KAFKA"] = nothing_listens()
    worker = deployment.worker()
    until(lambda: "waiting: Kafka" in worker.log.read_text(), "it says that it waits")
    require_stopped(worker)


def test_while_it_waits_for_the_registry(deployment: Deployment, tmp_path: Path) -> None:
    deployment.environment["LOCKSTEP_MLFLOW"] = f"http://{nothing_listens()}"
    deployment.environment["LOCKSTEP_HOME"] = str(tmp_path / "without the model")
    worker = deployment.worker()
    until(lambda: "model: waiting" in worker.log.read_text(), "it says that it waits")
    require_stopped(worker)


def test_while_it_folds(windowed_deployment: Deployment, january: str) -> None:
    send(windowed_deployment, records_of(windowed_deployment, january, DAY, DAY)[:200])
    windowed_deployment.environment |= {"FAULT": "endless-fold", "FAULT_AFTER": "0"}
    worker = windowed_deployment.worker(main="tests.streaming.faulty_worker")
    until(lambda: "folding the state topics" in worker.log.read_text(), "it folds")
    require_stopped(worker)
    assert windowed_deployment.settled() == 0


def heeds_signals(worker: Worker) -> bool:
    """Whether Python has come as far as to take SIGTERM for more than an end."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    caught = int(
        next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16
    )
    return bool(caught & 1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("tries", [2, pytest.param(30, marks=pytest.mark.long)])
def test_at_any_moment(deployment: Deployment, tries: int) -> None:
    draw = random.Random(tries)
    for _ in range(tries):
        worker = deployment.worker()
        until(lambda worker=worker: heeds_signals(worker), "it heeds signals")
        time.sleep(draw.uniform(0, 6))  # not a wait: the moment is what is drawn
        require_stopped(worker)


def test_a_second_signal_ends_it(deployment: Deployment) -> None:
    """Somebody who cannot wait for the drain says so twice."""
    url = f"postgresql://lockstep_scorer:x@{nothing_listens()}/lockstep"
    deployment.environment["LOCKSTEP_SCORER_URL"] = url
    worker = deployment.worker()
    until(lambda: "waiting: the warehouse" in worker.log.read_text(), "it says that it waits")
    os.kill(worker.process.pid, signal.SIGSTOP)
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGINT)
    os.kill(worker.process.pid, signal.SIGCONT)
    assert worker.process.wait(LIMIT_S) in (-signal.SIGTERM, -signal.SIGINT)
