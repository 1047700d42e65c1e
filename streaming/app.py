"""The Faust app: hosts the scoring service and answers its pages.

Nothing in it talks to Kafka. Scoring does not go through a Faust agent: an exception inside an
agent acknowledges the event. Nor does the control topic: what Faust's client cannot read ends
the process.

    python -m streaming.app USE_CASE [--port 6066] [--accept-loss]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faust
from faust.web import Request, View
from mode import Service
from prometheus_client import generate_latest

from lockstep.errors import LockstepError, UsageError
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from streaming.service import ScoringService

__all__ = ["build", "main"]

log = logging.getLogger("lockstep.stream")


class _Host(faust.App):  # type: ignore[misc]
    """Services and pages, and no Kafka."""

    class BootStrategy(faust.App.BootStrategy):  # type: ignore[misc]
        enable_kafka = False


def build(service: ScoringService, pipeline: Pipeline, port: int, datadir: str) -> Any:
    """The Faust app around a scoring service; pages on loopback only."""
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
            if service.failure is not None:
                # Nothing is left to do here: stop as if told to. `main` says why.
                os.kill(os.getpid(), signal.SIGTERM)

        async def on_stop(self) -> None:
            service.stop()
            await asyncio.wait([self.done])

    @app.page("/health")
    class Health(View):  # type: ignore[misc]
        async def get(self, request: Request) -> Any:
            return self.json(service.status.describe())

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


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT, which drain it. Exit code 0: drained; 1: failed."""
    parser = argparse.ArgumentParser(prog="python -m streaming.app", description=__doc__)
    parser.add_argument("use_case")
    parser.add_argument("--topic", help="read this events topic instead of the pipeline's")
    parser.add_argument("--port", type=int, default=6066, help="of the pages, on loopback")
    parser.add_argument("--accept-loss", action="store_true")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setLevel("INFO")
    try:
        _require_free(given.port)
        settings, pipeline = Settings.load(), Pipeline.load(given.use_case)
        settings.url("scorer")  # nothing to wait for when nobody has said where it is
        if given.topic:
            pipeline = pipeline.on(given.topic)
        service = ScoringService(settings, pipeline, accept_loss=given.accept_loss)
    except LockstepError as error:
        log.error("%s: %s", type(error).__name__, error)
        return 1
    # What exists now lives as long as the worker: keep the collector from walking it again.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    with tempfile.TemporaryDirectory(prefix="lockstep-worker-") as datadir:
        app = build(service, pipeline, given.port, datadir)
        # Its standard output is for progress spinners only.
        with Path(os.devnull).open("w") as nowhere:
            return _run(service, faust.Worker(app, stdout=nowhere, override_logging=False))


def _run(service: ScoringService, worker: Any) -> int:
    code = 0
    try:
        worker.execute_from_commandline()
    except SystemExit as done:
        code = int(done.code or 0)
    # Told to stop while it was still starting, Faust does not stop what it had started.
    service.stop()
    service.join()
    if isinstance(service.failure, LockstepError):
        log.error("%s: %s", type(service.failure).__name__, service.failure)
    elif service.failure is not None:
        log.error("the worker failed", exc_info=service.failure)
    return code or int(service.failure is not None)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"port {port} for the worker's pages is not free: {error.strerror}",
                next="lockstep stream USE_CASE --port ANOTHER",
            ) from None


if __name__ == "__main__":
    sys.exit(main())
