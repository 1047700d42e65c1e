"""The local Airflow: scheduler, dag processor, triggerer and API server, tasks on this machine.

Tuned for two cores: short intervals, so that a backfill does not idle between tasks, and few
processes. Its metadata is in the local Postgres.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from http.client import HTTPException
from pathlib import Path

from lockstep.errors import ServiceFailed
from lockstep.files import write_atomically
from lockstep.local.home import Home, Progress
from lockstep.local.loopback import http_get
from lockstep.local.postgres.server import Postgres
from lockstep.local.service import (
    Service,
    base_environment,
    run,
    running_pid,
    running_since,
    start,
    stop,
    tail,
)
from lockstep.spark.java import find_java

__all__ = ["PARTS", "Airflow"]

PARTS = {
    # name: (airflow's command, its name in the health report)
    "airflow-api-server": (("api-server", "--workers", "1", "--host", "127.0.0.1"), None),
    # The API server reads the logs from the same disk: nobody needs to serve them.
    "airflow-scheduler": (("scheduler", "--skip-serve-logs"), "scheduler"),
    "airflow-dag-processor": (("dag-processor",), "dag_processor"),
    "airflow-triggerer": (("triggerer", "--skip-serve-logs"), "triggerer"),
}
_USER = "admin"


class Airflow:
    """One Airflow in <home>/airflow, with the DAG files of `repository`/dags."""

    def __init__(
        self, home: Home, postgres: Postgres, repository: Path, spark_master: str = "local[2]"
    ) -> None:
        self.home = home
        self.folder = home.root / "airflow"
        self.port = home.port("airflow")
        self._postgres = postgres
        self._repository = repository.absolute()
        self._spark_master = spark_master

    @property
    def url(self) -> str:
        """The address of the user interface and the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> tuple[str, str]:
        """User and password of the one account."""
        return _USER, self.home.secret("airflow/admin", 12)

    def start(self, progress: Progress, anew: bool = False) -> bool:
        """Migrate the metadata where that is due and start all parts. False when all ran.

        `anew` starts those anew that do run: they do not outlive their database for long.
        """
        if anew:
            stop(self.home, list(PARTS))
        environment: dict[str, str] = {}
        if any(running_pid(self.home, name) is None for name in PARTS):
            environment = self.environment()
            self._prepare(environment, progress)
        return start(self.home, self.services(environment), progress)

    def services(self, environment: Mapping[str, str] | None = None) -> list[Service]:
        """The four processes. Without `environment` they can be watched, not started."""
        return [
            Service(
                name=name,
                command=[
                    *(sys.executable, "-m", "airflow"),
                    *command,
                    *(("--port", str(self.port)) if name == "airflow-api-server" else ()),
                ],
                ready=self._ready(name, part),
                ports={"airflow": self.port} if name == "airflow-api-server" else {},
                env=environment or {},
                # DAGs and jobs import from the repository's root.
                cwd=self._repository,
                # The triggerer waits 10 s for triggers even when it has none, the scheduler for
                # tasks as long as they take; both survive being killed.
                stop_timeout_s=3.0 if part == "triggerer" else 8.0,
            )
            for name, (command, part) in PARTS.items()
        ]

    def environment(self) -> dict[str, str]:
        """The environment of every Airflow process and so of every task."""
        java = find_java(self.home.root)
        database = self._postgres.url("airflow", "airflow")
        programs = [str(Path(sys.executable).parent), str(java.home / "bin")]
        # A user's own LOCKSTEP_* reach the tasks; the stack's addresses come from stack.env.
        own = {name: text for name, text in os.environ.items() if name.startswith("LOCKSTEP_")}
        settings = {
            "CORE": {
                "DAGS_FOLDER": str(self._repository / "dags"),
                "PLUGINS_FOLDER": str(self.folder / "plugins"),
                "LOAD_EXAMPLES": "False",
                "EXECUTOR": "LocalExecutor",
                "PARALLELISM": "3",
                "MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
                "EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                "FERNET_KEY": self._fernet_key(),
                "SIMPLE_AUTH_MANAGER_USERS": f"{_USER}:admin",
                "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.folder / "passwords.json"),
                # The fully qualified name may take a slow DNS server to find out.
                "HOSTNAME_CALLABLE": "socket.gethostname",
            },
            "DATABASE": {
                "SQL_ALCHEMY_CONN": database.replace("postgresql:", "postgresql+psycopg:"),
                # The same, in asyncpg's words.
                "SQL_ALCHEMY_CONN_ASYNC": database.replace(
                    "postgresql:", "postgresql+asyncpg:"
                ).replace("?sslmode=", "?ssl="),
            },
            "API": {"SECRET_KEY": self.home.secret("airflow/api"), "BASE_URL": self.url},
            # At least 64 bytes, or every task's token is signed with a warning.
            "API_AUTH": {"JWT_SECRET": self.home.secret("airflow/jwt", 64)},
            "SCHEDULER": {"SCHEDULER_IDLE_SLEEP_TIME": "0.25"},
            "DAG_PROCESSOR": {
                "PARSING_PROCESSES": "1",
                "REFRESH_INTERVAL": "10",
                "MIN_FILE_PROCESS_INTERVAL": "15",
                "PRINT_STATS_INTERVAL": "300",
            },
            "LOGGING": {"BASE_LOG_FOLDER": str(self.folder / "logs")},
        }
        spark = {
            "conn_type": "spark",
            "host": self._spark_master,
            "extra": {"deploy-mode": "client", "spark-binary": "spark-submit"},
        }
        return {
            **base_environment(),
            **own,
            **{
                f"AIRFLOW__{section}__{name}": text
                for section, values in settings.items()
                for name, text in values.items()
            },
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
            "LOCKSTEP_HOME": str(self.home.root),
            "JAVA_HOME": str(java.home),
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(self._repository),
            "PATH": os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)]),
        }

    def _ready(self, name: str, part: str | None) -> Callable[[], str | None]:
        """The health check of one part; the API server reports the others' heartbeats."""

        def missing() -> str | None:
            try:
                report = json.loads(http_get(f"{self.url}/api/v2/monitor/health"))
            except (OSError, HTTPException, ValueError) as error:
                return f"{self.url}: {error}"
            facts = report.get(part or "metadatabase") or {}
            if facts.get("status") != "healthy":
                return f"{part or 'metadata database'} is {facts.get('status')}"
            beat = facts.get(f"latest_{part}_heartbeat")
            since = running_since(self.home, name)
            if part and beat and since and datetime.fromisoformat(beat) < since:
                return f"{part} has not sent a heartbeat yet"  # that one was its predecessor's
            return None

        return missing

    def _prepare(self, environment: Mapping[str, str], progress: Progress) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        user, password = self.login
        write_atomically(self.folder / "passwords.json", json.dumps({user: password}), mode=0o600)
        try:
            version = importlib.metadata.version("apache-airflow-core")
        except importlib.metadata.PackageNotFoundError:
            raise ServiceFailed(
                "airflow is not installed", next="uv sync --extra orchestrate"
            ) from None
        done = self.folder / "migrated"
        if done.is_file() and done.read_text() == version:
            return
        progress("airflow", "migrating its metadata")
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        if run(self.home, "airflow-migrate", command, environment, cwd=self._repository) != 0:
            log = self.home.logs / "airflow-migrate.log"
            raise ServiceFailed(
                f"airflow: its metadata could not be migrated; the end of the log:\n{tail(log)}",
                left=f"the metadata as far as it came; the whole log in {log}",
                next="lockstep up, when the reason is gone",
            )
        write_atomically(done, version)

    def _fernet_key(self) -> str:
        """Airflow wants 32 bytes in base64."""
        digest = hashlib.sha256(self.home.secret("airflow/fernet").encode()).digest()
        return base64.urlsafe_b64encode(digest).decode()
