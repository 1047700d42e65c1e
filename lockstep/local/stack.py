"""The local stack as a whole: up, down, status.

Start-up is a small graph, run in parallel because Kafka waits for the network while Postgres
waits for the disk:

    postgres ─┬─► migrations of each use case
              ├─► mlflow
              └─► airflow
    kafka ─────► topics of each use case
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from lockstep.errors import LockstepError, ServiceFailed, Terminal, UsageError
from lockstep.files import write_atomically
from lockstep.local.airflow.server import PARTS, Airflow
from lockstep.local.home import Home, Progress, silent
from lockstep.local.kafka.broker import Kafka
from lockstep.local.mlflow.server import Mlflow
from lockstep.local.postgres.server import PGPASS, Postgres
from lockstep.local.service import (
    Service,
    cancel,
    leftovers,
    running_pid,
    running_since,
    stop,
    stragglers,
)
from lockstep.pipeline import Pipeline
from lockstep.settings import STACK_ENV, Settings

__all__ = [
    "PORTS",
    "SERVICES",
    "Refused",
    "ServiceStatus",
    "Stack",
    "down",
    "purge",
    "status",
    "up",
]

SERVICES = ("postgres", "kafka", "mlflow", "airflow")
PORTS = ("postgres", "kafka", "kafka-controller", "mlflow", "airflow")
ROLES = ("owner", "scorer", "releaser", "analyst")
_SPACE_MB = 500
_OWN = ("postgres", "kafka", "mlflow", "airflow", "java", "cache", "logs", "run")
"""Folders that `purge` deletes. Lake and models are the user's, not the stack's."""


Refused = dict[str, LockstepError]
"""Use case -> why it is left out."""


@dataclass(frozen=True)
class ServiceStatus:
    """What one process of the stack is doing."""

    name: str
    state: str
    """running, unhealthy (it runs and does not serve) or stopped."""
    pid: int | None = None
    since: str | None = None
    """When it was started, ISO 8601, UTC."""
    address: str | None = None
    detail: str | None = None
    """Why it is unhealthy."""


class Stack:
    """The services of one home."""

    def __init__(self, settings: Settings, repository: Path | None = None) -> None:
        self.home = Home(settings.home)
        self.repository = (repository or Path.cwd()).absolute()
        self.settings = settings

    @property
    def postgres(self) -> Postgres:
        """The warehouse and the metadata store."""
        return Postgres(self.home)

    @property
    def kafka(self) -> Kafka:
        """The broker."""
        return Kafka(self.home)

    @property
    def mlflow(self) -> Mlflow:
        """The model registry."""
        return Mlflow(self.home, self.postgres)

    @property
    def airflow(self) -> Airflow:
        """The orchestrator."""
        return Airflow(self.home, self.postgres, self.repository, self.settings.spark_master)

    def services(self) -> list[Service]:
        """Every process, to be watched; in the order in which they are started."""
        return [
            self.postgres.service(),
            self.kafka.service(),
            self.mlflow.service(),
            *self.airflow.services(),
        ]

    def addresses(self) -> dict[str, str]:
        """What stack.env says: LOCKSTEP_* names and values, role passwords included."""
        urls = {
            f"LOCKSTEP_{role.upper()}_URL": self.postgres.url(f"lockstep_{role}") for role in ROLES
        }
        return {
            "LOCKSTEP_KAFKA": self.kafka.bootstrap,
            "LOCKSTEP_MLFLOW": self.mlflow.url,
            "LOCKSTEP_AIRFLOW": self.airflow.url,
            **urls,
        }

    def use_cases(self) -> tuple[dict[str, Pipeline], dict[str, UsageError]]:
        """The repository's: good ones, and those that are refused, each with its reason."""
        return Pipeline.load_all(self.repository / "models")

    def local_settings(self) -> Settings:
        """The settings with this stack's addresses, whatever the environment says."""
        return self.settings.model_copy(
            update={
                name.removeprefix("LOCKSTEP_").lower(): (
                    SecretStr(text) if name.endswith("_URL") else text
                )
                for name, text in self.addresses().items()
            }
        )


def up(
    settings: Settings,
    services: Iterable[str] = SERVICES,
    *,
    repository: Path | None = None,
    ports: Mapping[str, int] | None = None,
    progress: Progress = silent,
    refused: Refused | None = None,
) -> bool:
    """Start what does not run yet. True when anything had to be started.

    Writes <home>/stack.env and <home>/pgpass, migrates the schema of each use case of `repository`
    and creates its topics. A use case that is refused takes no other along; it is put into
    `refused`, by name. Raises a LockstepError that names the service and shows the end of its log;
    what serves already keeps running, and running it again continues.
    """
    wanted = set(services)
    if unknown := wanted - set(SERVICES):
        raise UsageError(
            f"there is no service {sorted(unknown)[0]!r} (known: {', '.join(SERVICES)})",
            next="lockstep up",
        )
    stack = Stack(settings, repository)
    stack.home.create()
    try:
        with stack.home.locked(progress):
            stack.home.require_space(_SPACE_MB)
            for name, port in (ports or {}).items():
                _configure_port(stack, name, port)
            env = "".join(f"{name}={text}\n" for name, text in stack.addresses().items())
            write_atomically(stack.home.root / STACK_ENV, env, mode=0o600)
            stack.postgres.write_pgpass()
            return _start(stack, wanted, progress, {} if refused is None else refused)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ServiceFailed(
            f"the disk of {stack.home.root} is full ({error})",
            left="what was started keeps running",
            next="free some space, then lockstep up",
        ) from None


def down(settings: Settings, progress: Progress = silent) -> list[str]:
    """Stop everything of this home, also what a crash left; returns the names of what ran.

    Raises ServiceFailed when a process does not end. Nothing running is not an error.
    """
    home = Home(settings.home)
    if not home.run.is_dir():
        return []
    with home.locked(progress):
        stopped: list[str] = []
        # Who writes to a database stops before it; the triggerer talks to the API server.
        last = ("airflow-api-server", "kafka", "postgres")
        names = leftovers(home)
        for group in [[name for name in names if name not in last], *([name] for name in last)]:
            for name in group:
                if running_pid(home, name) is not None:
                    progress(name, "stopping")
            stopped += stop(home, group)
        if left := stragglers(home):
            raise ServiceFailed(f"processes {sorted(left)} still run", next="lockstep down")
        return stopped


def purge(settings: Settings, progress: Progress = silent) -> None:
    """Stop everything and delete the data of all services. Lake and models stay."""
    down(settings, progress)
    home = Home(settings.home)
    for name in _OWN:
        shutil.rmtree(home.root / name, ignore_errors=True)
    for name in ("ports.json", "secrets.json", STACK_ENV, PGPASS):
        (home.root / name).unlink(missing_ok=True)


def status(settings: Settings, repository: Path | None = None) -> list[ServiceStatus]:
    """The state of every process, asked now. Starts and changes nothing."""
    stack = Stack(settings, repository)
    names = ("postgres", "kafka", "mlflow", *PARTS)
    if not any(running_pid(stack.home, name) for name in names):
        return [ServiceStatus(name, "stopped") for name in names]
    return [_status(stack.home, service) for service in stack.services()]


def _status(home: Home, service: Service) -> ServiceStatus:
    pid, since = running_pid(home, service.name), running_since(home, service.name)
    if pid is None or since is None:
        return ServiceStatus(service.name, "stopped")
    missing = service.ready()
    port = next(iter(service.ports.values()), None)
    return ServiceStatus(
        service.name,
        "unhealthy" if missing else "running",
        pid,
        since.isoformat(timespec="seconds"),
        f"127.0.0.1:{port}" if port else None,
        missing,
    )


def _configure_port(stack: Stack, name: str, port: int) -> None:
    if name not in PORTS:
        raise UsageError(
            f"there is no port {name!r} (known: {', '.join(PORTS)})",
            next=f"lockstep up --port {PORTS[0]}=5432",
        )
    if stack.home.has_port(name) and port == stack.home.port(name):
        return
    running = leftovers(stack.home)
    if any(running_pid(stack.home, service) for service in running):
        raise UsageError(
            f"the port of {name} cannot change to {port} while the stack runs",
            left="the stack, as it was",
            next="lockstep down, then the same command again",
        )
    stack.home.set_port(name, port)


def _start(stack: Stack, wanted: set[str], progress: Progress, refused: Refused) -> bool:
    needs_postgres = bool(wanted & {"postgres", "mlflow", "airflow"})
    cancel(False)
    with ThreadPoolExecutor(max_workers=5) as pool:
        parts: list[Future[bool]] = []

        def begin(work: Callable[[], bool], after: Future[bool] | None = None) -> Future[bool]:
            def part() -> bool:
                if after is not None:
                    after.result()
                try:
                    return work()
                except LockstepError as error:
                    # Now, in a line; the whole of it when the other parts are done.
                    progress("stack", f"failed: {error.message.splitlines()[0]}")
                    raise

            future = pool.submit(part)
            parts.append(future)
            return future

        try:
            postgres = begin(lambda: stack.postgres.start(progress)) if needs_postgres else None
            if "kafka" in wanted:
                topics = begin(lambda: stack.kafka.start(progress))
                begin(lambda: _topics(stack, progress, refused), topics)
            if postgres is not None:
                begin(lambda: _migrations(stack, progress, refused), postgres)
                if "mlflow" in wanted:
                    begin(lambda: stack.mlflow.start(progress), postgres)
                if "airflow" in wanted:
                    begin(lambda: stack.airflow.start(progress, anew=postgres.result()), postgres)
            # Every part is waited for, so that the first failure is not told before its time.
            failures = [error for part in parts if (error := part.exception()) is not None]
        except KeyboardInterrupt:
            cancel()
            raise
    if failures:
        raise failures[0]
    return any(part.result() for part in parts)


def _topics(stack: Stack, progress: Progress, refused: Refused) -> bool:
    def create(pipeline: Pipeline) -> None:
        if new := stack.kafka.create_topics(pipeline):
            progress("kafka", f"created the topics {', '.join(new)}")

    return _each(stack, create, refused)


def _migrations(stack: Stack, progress: Progress, refused: Refused) -> bool:
    # Alembic is only needed here.
    from lockstep.warehouse.migrate import upgrade

    settings = stack.local_settings()

    def migrate(pipeline: Pipeline) -> None:
        name = pipeline.use_case
        done = upgrade(settings, name)
        if done.changed:
            progress("postgres", f"schema {name} is now at revision {done.after}")
        for note in done.notes:
            progress("postgres", note)

    return _each(stack, migrate, refused)


def _each(stack: Stack, work: Callable[[Pipeline], None], refused: Refused) -> bool:
    """Do it for each good use case. What is wrong with one for good takes no other along."""
    good, wrong = stack.use_cases()
    refused.update(wrong)
    for name, pipeline in good.items():
        try:
            work(pipeline)
        except Terminal as error:
            refused[name] = error
    return False
