"""What evaluates a worker's trees is told, and a kernel that differs does not serve."""

from __future__ import annotations

from typing import Any

from tests.streaming.deployment import Deployment, Worker
from tests.until import until


def serves_with(worker: Worker) -> str:
    return str(until(lambda: worker.serves("trees"), "its page says what serves"))


def distrusted(worker: Worker) -> float:
    metrics = until(worker.metrics, "its page of metrics answers")
    return metrics["lockstep_tree_kernels_distrusted_total"]


def scores_of(deployment: Deployment, worker: Worker, sent: Any) -> dict[str, Any]:
    """Event id -> (score, margin), once the worker has answered everything."""
    deployment.send(sent)
    until(lambda: deployment.settled() == len(sent), "every event is settled")
    assert worker.drain() == 0
    return {row[0]: row[1:3] for row in deployment.rows()}


def expected(scorer: Any, sent: Any) -> dict[str, Any]:
    return dict(zip([key for key, _ in sent], scorer([value for _, value in sent]), strict=True))


def test_a_kernel_that_differs_does_not_serve(
    deployment: Deployment, events: Any, scorer: Any
) -> None:
    """One bit of one sum is wrong: ONNX Runtime takes over before the first event."""
    deployment.environment |= {"FAULT": "wrong-kernel", "FAULT_AFTER": "0"}
    worker = deployment.worker(main="tests.streaming.faulty_worker").ready()
    assert serves_with(worker).startswith("onnxruntime (the compiled kernel differs on ")
    assert distrusted(worker) == 1
    assert "ONNX Runtime evaluates the trees, because the compiled" in worker.log.read_text()
    sent = events(1_000)
    assert scores_of(deployment, worker, sent) == expected(scorer, sent)


def test_control_a_kernel_that_nobody_compares(
    deployment: Deployment, events: Any, scorer: Any
) -> None:
    deployment.environment |= {"FAULT": "trusted-kernel", "FAULT_AFTER": "0"}
    worker = deployment.worker(main="tests.streaming.faulty_worker").ready()
    assert serves_with(worker) == "compiled"
    sent = events(1_000)
    assert scores_of(deployment, worker, sent) != expected(scorer, sent)


def test_without_a_fault_the_compiled_kernel_serves(deployment: Deployment, events: Any) -> None:
    worker = deployment.worker().ready()
    assert serves_with(worker) == "compiled"
    assert distrusted(worker) == 0
    assert worker.drain() == 0


def test_the_kernel_is_chosen_by_a_setting(deployment: Deployment) -> None:
    deployment.environment |= {"LOCKSTEP_TREE_KERNEL": "numpy"}
    worker = deployment.worker().ready()
    assert serves_with(worker) == "numpy"
    assert worker.drain() == 0
