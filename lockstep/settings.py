"""Settings: where the services are and what opens them. Read once, at the edge.

Environment variables named LOCKSTEP_* win over `.env`, which wins over `stack.env`, the file
that `lockstep up` writes with the addresses and passwords of the local stack.

Addresses are judged here (lockstep/addresses.py) and nowhere later; one that is refused is never
shown, since it may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lockstep.addresses import http_fault, kafka_fault, lake_fault, postgres_fault
from lockstep.errors import UsageError

__all__ = ["STACK_ENV", "Settings", "TreeKernel"]

STACK_ENV = "stack.env"
TreeKernel = Literal["auto", "compiled", "numpy", "onnxruntime"]


def _address(fault: Callable[[str], str | None]) -> AfterValidator:
    def check(value: Any) -> Any:
        if found := fault(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(found)
        return value

    return AfterValidator(check)


Database = Annotated[SecretStr, _address(postgres_fault)] | None


class Settings(BaseSettings):
    """One process's settings. Database addresses are libpq URLs, one for each role."""

    model_config = SettingsConfigDict(
        env_prefix="LOCKSTEP_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Path = Path(".lockstep")
    """Where the local stack, caches and the local lake live."""
    lake: Annotated[str, _address(lake_fault)] = ""
    """Root of the lake: a folder or any URI that pyarrow and Spark both read. Empty: home/lake."""
    kafka: Annotated[str, _address(kafka_fault)] = "127.0.0.1:9092"
    mlflow: Annotated[str, _address(http_fault), Field(repr=False)] = "http://127.0.0.1:5000"
    """May hold a user and a password."""
    airflow: Annotated[str, _address(http_fault), Field(repr=False)] = "http://127.0.0.1:8080"
    spark_master: str = "local[2]"
    tree_kernel: TreeKernel = "auto"
    """What evaluates trees in large batches. No choice changes a bit of a score."""
    owner_url: Database = None
    """Owns the schemas: migrations only."""
    scorer_url: Database = None
    """Writes predictions; cannot approve."""
    releaser_url: Database = None
    """Appends approvals; cannot change or delete one."""
    analyst_url: Database = None
    """Reads the views."""

    @classmethod
    def load(cls) -> Settings:
        """Read environment, `.env` and `stack.env`. Raises UsageError naming the wrong value."""
        home = Path(os.environ.get("LOCKSTEP_HOME", ".lockstep"))
        try:
            settings = cls(_env_file=(home / STACK_ENV, ".env"))  # type: ignore[call-arg]
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            setting = str(first["loc"][0])
            name = f"LOCKSTEP_{setting.upper()}"
            if first["type"] == "value_error":  # an address
                fault = f"{name} {first['ctx']['error']}"
            else:
                fault = f"{name}: {first['msg']} (value: {str(first['input'])[:80]!r})"
            raise UsageError(fault, next=f"correct {name} in the environment or in .env") from None
        home = settings.home.absolute()
        for name, place in (("HOME", home), ("LAKE", Path(settings.lake or home))):
            if place.is_file():
                raise UsageError(
                    f"LOCKSTEP_{name} is {str(place)!r}, which is a file",
                    next=f"set LOCKSTEP_{name} to a folder",
                )
        return settings.model_copy(
            update={"home": home, "lake": settings.lake or str(home / "lake")}
        )

    def url(self, role: str) -> str:
        """The libpq URL of `role`: owner, scorer, releaser or analyst."""
        secret: SecretStr | None = getattr(self, f"{role}_url")
        if secret is None:
            raise UsageError(
                f"no warehouse address for the role {role}: LOCKSTEP_{role.upper()}_URL is not set",
                next="lockstep up (starts a local warehouse), or set it in .env",
            )
        return secret.get_secret_value()
