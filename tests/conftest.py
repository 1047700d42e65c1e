"""Real services for tests: each starts when the first test asks for it, once a session.

They run through lockstep.local in a temporary home and are stopped at the end, whatever happened.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pydantic import SecretStr

from lockstep.local.home import Home, silent
from lockstep.local.kafka.broker import Kafka
from lockstep.local.mlflow.server import Mlflow
from lockstep.local.postgres.server import Postgres
from lockstep.local.service import leftovers, stop, stragglers
from lockstep.settings import Settings
from lockstep.spark.java import find_java
from tests.surroundings import settle

settle()

_TESTS = Path(__file__).parent

# How quick the machine is just now is no property of what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


_LONGEST_FIRST = [
    *("dags/test_real_scheduler.py", "streaming/test_crashes.py", "streaming/test_windows.py"),
    *("streaming/test_restarts.py", "local/test_full_stack.py", "batch/test_batch_failures.py"),
    *("training/test_model_commands.py", "streaming/test_dependencies.py"),
    *("spark/test_spark_output.py", "models/test_blood_glucose.py", "audit/test_audit.py"),
    *("streaming/test_lifecycle.py", "streaming/test_truncated.py", "batch/test_batch_gates.py"),
    *("batch/test_batch_commands.py", "batch/test_batch_runs.py", "training/test_train.py"),
]
"""Two processes that share the tests then end at about the same time (`make test`)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {str(_TESTS / name): place for place, name in enumerate(_LONGEST_FIRST)}
    assert all(Path(path).is_file() for path in places)
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


def pytest_unconfigure() -> None:
    # It closes connections when Python ends, and logs that where nobody listens any more.
    logging.getLogger("py4j").setLevel(logging.WARNING)


@pytest.fixture(scope="session", autouse=True)
def _java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The Java that Kafka and Spark are started with: the machine's, or the wheel's, in a hurry.

    Its second compiler pays off after minutes, and takes half the processor time of a Spark that
    lives for seconds; nearly all that are started here do.
    """
    folder = tmp_path_factory.mktemp("java")
    program = folder / "hurried" / "bin" / "java"
    program.parent.mkdir(parents=True)
    found = shlex.quote(str(find_java(folder).executable))
    program.write_text(f'#!/bin/sh\nexec {found} -XX:TieredStopAtLevel=1 "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(program.parent.parent))
        yield


@pytest.fixture(scope="session")
def stack_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The home that all services of this test session share."""
    home = Home(tmp_path_factory.mktemp("stack"))
    home.create()
    yield home
    stop(home, leftovers(home))
    assert not stragglers(home)


@pytest.fixture(scope="session")
def postgres(stack_home: Home) -> Postgres:
    """A running Postgres: `.url(login, database)`, `.port`."""
    server = Postgres(stack_home)
    server.start(silent)
    return server


@pytest.fixture(scope="session")
def kafka(stack_home: Home) -> Kafka:
    """A running broker: `.bootstrap`, `.create_topic(name, partitions)`, `.admin()`."""
    broker = Kafka(stack_home)
    broker.start(silent)
    return broker


@pytest.fixture(scope="session")
def mlflow_server(stack_home: Home, postgres: Postgres) -> Mlflow:
    """A running MLflow server: `.url`."""
    server = Mlflow(stack_home, postgres)
    server.start(silent)
    return server


@pytest.fixture(scope="session")
def warehouse_settings(stack_home: Home, postgres: Postgres) -> Settings:
    """Settings with a running warehouse, not migrated, and nothing else."""
    return Settings(
        home=stack_home.root,
        lake=str(stack_home.root / "lake"),
        **_role_urls(postgres),
    )


@pytest.fixture(scope="session")
def stack_settings(warehouse_settings: Settings, kafka: Kafka, mlflow_server: Mlflow) -> Settings:
    """Settings with a running warehouse (not migrated), Kafka and MLflow."""
    return warehouse_settings.model_copy(
        update={"kafka": kafka.bootstrap, "mlflow": mlflow_server.url}
    )


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may see, or touch, the developer's own stack."""
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path / "no-stack"))


def _role_urls(postgres: Postgres) -> dict[str, SecretStr]:
    roles = ("owner", "scorer", "releaser", "analyst")
    return {f"{role}_url": SecretStr(postgres.url(f"lockstep_{role}")) for role in roles}
