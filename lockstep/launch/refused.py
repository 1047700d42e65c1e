"""Use cases without DAGs, told where their people look: as an import error in Airflow.

The error belongs to a DAG file of its own. Airflow stops scheduling the DAGs of a file that has
one, so in the files that hold the good DAGs it would take them along.
"""

from __future__ import annotations

from pathlib import Path

from lockstep.errors import UsageError
from lockstep.launch.audit import audit_dag
from lockstep.launch.batch import batch_dag
from lockstep.launch.landing import landing_dag
from lockstep.launch.runs import faults_of
from lockstep.pipeline import Pipeline

__all__ = ["tell_of_refused"]


def tell_of_refused(root: Path) -> None:
    """Raises UsageError with every use case below `root` that is refused, its file and the key."""
    if not Pipeline.use_cases(root / "models"):
        raise UsageError(
            f"there is no use case: {root / 'models'} has no folder with a pipeline.toml",
            next="deploy models/USE_CASE/pipeline.toml beside dags/",
        )
    if faults := faults_of(root, batch_dag, landing_dag, audit_dag):
        raise UsageError("these use cases have no DAGs; the others go on:\n" + "\n".join(faults))
