"""Step 1: which digest serves. Read once, used to the end of the run."""

from __future__ import annotations

from lockstep.batch.plan import Pin, Run
from lockstep.registry.approved import approved_model
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect

__all__ = ["resolve_model"]


def resolve_model(settings: Settings, run: Run) -> Pin:
    """Pin the approved model. Raises ModelRefused when none is approved or its bytes differ."""
    with connect(settings, "scorer", run.use_case) as connection:
        approval, _ = approved_model(settings, run.use_case, connection)
    return Pin(
        use_case=run.use_case,
        day=run.day,
        run_id=run.run_id,
        approval=approval.sequence,
        model_version=approval.model_version,
        digest=approval.digest,
    )
