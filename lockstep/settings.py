"""Settings: where the services are and what opens them. Read once, at the edge.

Environment variables named LOCKSTEP_* win over `.env`, which wins over `stack.env`, the file
that `lockstep up` writes with the addresses and passwords of the local stack.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lockstep.errors import UsageError

__all__ = ["STACK_ENV", "Settings", "TreeKernel"]

STACK_ENV = "stack.env"
TreeKernel = Literal["auto", "compiled", "numpy", "onnxruntime"]


class Settings(BaseSettings):
    """One process's settings. Database addresses are libpq URLs, one for each role."""

    model_config = SettingsConfigDict(env_prefix="LOCKSTEP_", extra="ignore", frozen=True)

    home: Path = Path(".lockstep")
    """Where the local stack, caches and the local lake live."""
    lake: str = ""
    """Root of the lake: a folder or any URI that pyarrow and Spark both read. Empty: home/lake."""
    kafka: str = "127.0.0.1:9092"
    mlflow: str = "http://127.0.0.1:5000"
    airflow: str = "http://127.0.0.1:8080"
    spark_master: str = "local[2]"
    tree_kernel: TreeKernel = "auto"
    """What evaluates trees in large batches. No choice changes a bit of a score."""
    owner_url: SecretStr | None = None
    """Owns the schemas: migrations only."""
    scorer_url: SecretStr | None = None
    """Writes predictions; cannot approve."""
    releaser_url: SecretStr | None = None
    """Appends approvals; cannot change or delete one."""
    analyst_url: SecretStr | None = None
    """Reads the views."""

    @classmethod
    def load(cls) -> Settings:
        """Read environment, `.env` and `stack.env`. Raises UsageError naming the wrong value."""
        home = Path(os.environ.get("LOCKSTEP_HOME", ".lockstep"))
        try:
            settings = cls(_env_file=(home / STACK_ENV, ".env"))  # type: ignore[call-arg]
        except ValidationError as error:
            first = error.errors()[0]
            name = "LOCKSTEP_" + "_".join(str(part) for part in first["loc"]).upper()
            raise UsageError(
                f"{name}: {first['msg']} (value: {first['input']!r})",
                next=f"correct {name} in the environment or in .env",
            ) from None
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
