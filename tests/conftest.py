"""Real services for tests: each starts when the first test asks for it, once a session.

They run through lockstep.local in a temporary home and are stopped at the end, whatever happened.
"""

from __future__ import annotations

import logging
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
from tests.surroundings import settle

settle()

# How quick the machine is just now is no property of what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_unconfigure() -> None:
    # It closes connections when Python ends, and logs that where nobody listens any more.
    logging.getLogger("py4j").setLevel(logging.WARNING)


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
