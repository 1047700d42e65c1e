"""One approved model for all worker tests, and topics of its own for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import date
from pathlib import Path

import pytest

from lockstep.contracts import EventDecoder, to_json
from lockstep.estimators.xgboost import XGBoostModel
from lockstep.local.home import Home
from lockstep.local.service import running_pid
from lockstep.registry import approvals
from lockstep.registry.register import register
from lockstep.scoring import OnnxScorer
from lockstep.settings import Settings
from lockstep.warehouse import migrate
from lockstep.warehouse.connect import connect
from tests import small_model
from tests.house import evidence
from tests.streaming import windowed
from tests.streaming.deployment import Deployment, environment_of

EVENTS = list[tuple[str, bytes]]


def approve(
    settings: Settings, trees: int, use_case: str = "flight_delay", *, windows: bool = False
) -> str:
    """Register the model of so many trees and approve it; returns its digest."""
    if windows:
        compiled = small_model.windowed_compiled(trees, use_case)
        native = small_model.windowed_booster(trees)
    else:
        compiled = small_model.small_compiled(trees, use_case)
        native = small_model.small_booster(trees)
    registered = register(
        settings,
        compiled.model,
        compiled.certificate,
        native=XGBoostModel(native).file(),
        fingerprint=f"{trees} trees, windows: {windows}",
    )
    with closing(connect(settings, "releaser", use_case)) as connection:
        approvals.append(
            connection,
            after=approvals.current(connection),
            model_version=registered.version,
            digest=compiled.model.digest,
            reason="a worker needs a model",
            evidence=evidence(compiled.model.digest),
        )
        connection.commit()
    return compiled.model.digest


@pytest.fixture(scope="session")
def approved(stack_settings: Settings) -> Settings:
    """Settings whose warehouse has flight_delay with an approved model."""
    migrate.upgrade(stack_settings, "flight_delay")
    approve(stack_settings, trees=20)
    return stack_settings


@pytest.fixture
def approve_other(approved: Settings) -> Iterator[Callable[[], str]]:
    """Approves another model; the usual one is approved again afterwards."""
    yield lambda: approve(approved, trees=10)
    approve(approved, trees=20)


@pytest.fixture
def refused(approved: Settings) -> Callable[[], AbstractContextManager[None]]:
    """A stretch of time in which the newest approval names bytes that the registry lacks."""

    @contextmanager
    def stretch() -> Iterator[None]:
        with closing(connect(approved, "releaser", "flight_delay")) as connection:
            newest = approvals.current(connection)
            assert newest is not None
            approvals.append(
                connection,
                after=newest,
                model_version=newest.model_version,
                digest="f" * 64,
                reason="to be refused",
                evidence=evidence("f" * 64),
            )
        try:
            yield
        finally:
            approve(approved, trees=20)

    return stretch


@pytest.fixture
def deployment(approved: Settings, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(approved, environment_of(approved), tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def windowed_approved(stack_settings: Settings) -> Settings:
    """Settings whose warehouse has a use case with an approved model that has windows."""
    migrate.upgrade(stack_settings, windowed.USE_CASE)
    approve(stack_settings, 20, windowed.USE_CASE, windows=True)
    return stack_settings


@pytest.fixture
def windowed_deployment(windowed_approved: Settings, tmp_path: Path) -> Iterator[Deployment]:
    environment = environment_of(windowed_approved)
    made = Deployment(windowed_approved, environment, tmp_path, windowed.USE_CASE)
    yield made
    made.stop()


@pytest.fixture
def approve_windows(windowed_approved: Settings) -> Iterator[Callable[[bool], str]]:
    """Approves a model with windows, or without; the usual one is approved again afterwards."""

    def approved_now(windows: bool) -> str:
        return approve(windowed_approved, 20, windowed.USE_CASE, windows=windows)

    yield approved_now
    approved_now(True)


@pytest.fixture(scope="session")
def january(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake with the flights of January."""
    return windowed.write_lake(
        tmp_path_factory.mktemp("january"), date(2013, 1, 1), date(2013, 1, 31)
    )


@pytest.fixture(scope="session")
def events() -> Callable[[int], EVENTS]:
    """The first so many departures of 2013 as (id, JSON); ids are e-0, e-1, and so on."""
    contract = small_model.departures()
    table = small_model.flights()[contract.source].slice(0, 20_000)
    position = table.schema.get_field_index(contract.id)
    ids = [f"e-{number}" for number in range(table.num_rows)]
    table = table.set_column(position, table.schema.field(position), [ids])
    values = list(zip(ids, to_json(contract, table), strict=True))
    return lambda count: values[:count]


@pytest.fixture(scope="session")
def scorer() -> Callable[[list[bytes]], list[tuple[float, float]]]:
    """(score, margin) of JSON events by the approved file, in this process."""
    model = small_model.small_compiled(20).model

    def score(values: list[bytes]) -> list[tuple[float, float]]:
        decoded = EventDecoder(model.contract, max_bytes=65_536).decode(values)
        scores = OnnxScorer(model).score(decoded.columns)
        return list(zip(scores.score.tolist(), scores.margin.tolist(), strict=True))

    return score


@pytest.fixture
def broker_pid(stack_home: Home, approved: Settings) -> int:
    return running_pid(stack_home, "kafka")
