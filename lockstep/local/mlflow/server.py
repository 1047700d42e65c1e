"""The local MLflow server: its metadata in Postgres, its artifacts in <home>/mlflow."""

from __future__ import annotations

import importlib.util
import sys

from lockstep.errors import ServiceFailed
from lockstep.local.home import Home, Progress
from lockstep.local.loopback import http_missing
from lockstep.local.postgres.server import Postgres
from lockstep.local.service import Service, base_environment, start

__all__ = ["Mlflow"]


class Mlflow:
    """One tracking server with a model registry."""

    def __init__(self, home: Home, postgres: Postgres) -> None:
        self.home = home
        self.port = home.port("mlflow")
        self.folder = home.root / "mlflow"
        self._postgres = postgres

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, progress: Progress) -> bool:
        """Start the server; it migrates its own tables. False when it already ran."""
        if importlib.util.find_spec("mlflow") is None:
            raise ServiceFailed("mlflow is not installed", next="uv sync --extra registry")
        self.folder.mkdir(parents=True, exist_ok=True)
        return start(self.home, [self.service()], progress)

    def service(self) -> Service:
        """The server service."""
        database = self._postgres.url("mlflow", "mlflow")
        return Service(
            name="mlflow",
            command=[
                *(sys.executable, "-m", "mlflow", "server"),
                *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            ready=self.missing,
            ports={"mlflow": self.port},
            env={
                **base_environment(),
                # In the environment, not on the command line, which everybody can read.
                "MLFLOW_BACKEND_STORE_URI": database.replace("postgresql:", "postgresql+psycopg:"),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
            },
            cwd=self.folder,
        )

    def missing(self) -> str | None:
        """None when the server answers its health check, else its answer."""
        return http_missing(f"{self.url}/health")
