"""A repository of a test's own: one small use case on real flights, and its lake."""

from __future__ import annotations

import pytest

from tests.tiny import TinyRepository, make_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRepository:
    """Eighteen days of January, loaded into a lake by the use case's own data.py."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))
