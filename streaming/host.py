"""The Faust app: hosts the scoring service and answers its pages.

Nothing in it talks to Kafka. Scoring does not go through a Faust agent: an exception inside an
agent acknowledges the event. Nor does the control topic: what Faust's client cannot read ends
the process. Nor do signals: what is told to stop is the service, and the app ends after it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faust
from faust.web import Request, View
from mode import Service
from prometheus_client import generate_latest

from lockstep.errors import LockstepError, UsageError
from lockstep.exits import FAILED, exit_code
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from streaming.app import Signals
from streaming.service import ScoringService

__all__ = ["host"]

log = logging.getLogger("lockstep.stream")


def host(
    use_case: str, *, topic: str | None, port: int, accept_loss: bool, signals: Signals
) -> int:
    """Run a worker with its pages until it has stopped or failed; the process's exit code."""
    try:
        _require_free(port)
        settings, pipeline = Settings.load(), Pipeline.load(use_case)
        settings.url("scorer")  # nothing to wait for when nobody has said where it is
        pipeline = pipeline.on(topic) if topic else pipeline
        service = ScoringService(settings, pipeline, accept_loss=accept_loss)
    except LockstepError as error:
        return _told(error)
    signals.tell(service.stop)
    log.info("reading %s from %s", pipeline.topics.events, settings.kafka)
    # What exists now lives as long as the worker: keep the collector from walking it again.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    with tempfile.TemporaryDirectory(prefix="lockstep-worker-") as datadir:
        app = _app(service, pipeline, port, datadir, lambda: worker.end())
        # Its standard output is for progress spinners only.
        with Path(os.devnull).open("w") as nowhere:
            worker = _Worker(app, stdout=nowhere, override_logging=False)
            code = _run(worker)
    # An app that could not start does not stop what it had started.
    service.stop()
    service.join()
    return code or _told(service.failure)


def _told(failure: BaseException | None) -> int:
    """Say what ended the worker, if anything did; its exit code."""
    if failure is None:
        return 0
    if isinstance(failure, LockstepError):
        log.error("%s: %s", type(failure).__name__, failure)
        return exit_code(failure)
    log.error("the worker failed", exc_info=failure)
    return FAILED


class _Worker(faust.Worker):  # type: ignore[misc]
    def install_signal_handlers(self) -> None:
        """The process has its own, from before there was a worker."""

    def end(self) -> None:
        """As if a signal had come: stop everything, then return."""
        self._schedule_shutdown(signal.SIGTERM)


class _Host(faust.App):  # type: ignore[misc]
    """Services and pages, and no Kafka."""

    class BootStrategy(faust.App.BootStrategy):  # type: ignore[misc]
        enable_kafka = False


def _app(
    service: ScoringService,
    pipeline: Pipeline,
    port: int,
    datadir: str,
    ended: Callable[[], None],
) -> Any:
    """The Faust app around a scoring service, and what it calls when that has ended.

    Its pages are on loopback only.
    """
    app = _Host(
        pipeline.use_case,
        web_host="127.0.0.1",
        web_bind="127.0.0.1",
        web_port=port,
        worker_redirect_stdouts=False,
        datadir=datadir,
        # Faust's own pages can read tables and route requests; a worker has no use for them.
        web_router_enabled=False,
        web_tables_enabled=False,
        web_graph_enabled=False,
    )

    @app.service
    class Scoring(Service):  # type: ignore[misc]
        async def on_start(self) -> None:
            self.thread = ThreadPoolExecutor(1, "intake")
            self.done = asyncio.get_running_loop().run_in_executor(self.thread, service.run)

        @Service.task
        async def _watch(self) -> None:
            await asyncio.wait([self.done])
            # Stopped or failed, nothing is left to do here. `host` says why.
            ended()

        async def on_stop(self) -> None:
            service.stop()
            await asyncio.wait([self.done])

    @app.page("/health")
    class Health(View):  # type: ignore[misc]
        async def get(self, request: Request) -> Any:
            described = service.status.describe()
            # What a new process would wait for as well is no reason to start one.
            return self.json(described, status=503 if described["stuck"] else 200)

    @app.page("/ready")
    class Ready(View):  # type: ignore[misc]
        async def get(self, request: Request) -> Any:
            described = service.status.describe()
            return self.json(described, status=200 if described["ready"] else 503)

    @app.page("/metrics")
    class Metrics(View):  # type: ignore[misc]
        async def get(self, request: Request) -> Any:
            return self.text(generate_latest(service.status.registry).decode())

    return app


def _run(worker: _Worker) -> int:
    try:
        worker.execute_from_commandline()
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port {port} for the worker's pages is not free: {error}",
                next="lockstep stream USE_CASE --port ANOTHER",
            ) from None
