"""How a task fails in Airflow: at once when trying again cannot help, otherwise with a retry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException

from lockstep.errors import Terminal

__all__ = ["told_to_airflow"]


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """Turn a Terminal error into the one that Airflow does not retry; others pass through."""
    try:
        yield
    except Terminal as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
