"""What serves: the approved model, fetched by its digest, verified and open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lockstep.errors import ModelRefused, Unreachable
from lockstep.registry.approvals import Approval, current
from lockstep.registry.rest import Heard, unheard

if TYPE_CHECKING:
    import psycopg

    from lockstep.compiled_model import CompiledModel
    from lockstep.settings import Settings

__all__ = ["Approval", "approved_model", "check_use_case", "current"]

log = logging.getLogger(__name__)


def approved_model(
    settings: Settings, use_case: str, conn: psycopg.Connection[Any], heard: Heard = unheard
) -> tuple[Approval, CompiledModel]:
    """The model that the newest approval names, and that approval.

    1. The approvals table names the digest; nothing else does.
    2. The registry's tag of that version must name the same digest. A registry that is down
       stops nobody whose cache holds the bytes: they are what was approved, by their digest.
    3. The bytes must have that digest.
    4. The file must open: operators, manifest, golden vectors; and be of this use case.

    Raises ModelRefused naming which of these does not fit, or Unreachable. `heard` is called while
    the registry's answers come: together they may take many minutes.
    """
    from lockstep.compiled_model import open_model
    from lockstep.registry.mlflow import fetch_model, model_version

    approval = current(conn)  # 1
    if approval is None:
        raise ModelRefused(
            f"approval: no model of {use_case} is approved",
            next=f"lockstep train {use_case}, then lockstep approve {use_case} VERSION",
        )
    try:
        registered = model_version(settings, use_case, approval.model_version, heard)  # 2
    except Unreachable as error:
        log.warning("the registry was not asked for version %s: %s", approval.model_version, error)
    else:
        if registered.digest != approval.digest:
            raise ModelRefused(
                f"digest: approval {approval.sequence} names {approval.digest[:12]} as version"
                f" {approval.model_version} of {use_case}, the registry's tag says"
                f" {(registered.digest or 'nothing')[:12]}",
                next=f"lockstep models {use_case}; then approve the version that should serve",
            )
    data = fetch_model(settings, use_case, approval.model_version, approval.digest, heard)  # 3
    model = open_model(data, digest=approval.digest)  # 4
    check_use_case(model, use_case)
    return approval, model


def check_use_case(model: CompiledModel, use_case: str) -> None:
    """Raises ModelRefused for a model of another use case."""
    if model.manifest.use_case != use_case:
        raise ModelRefused(
            f"manifest: digest {model.digest[:12]} is a model of {model.manifest.use_case!r},"
            f" not of {use_case!r}",
            next=f"lockstep models {use_case}",
        )
