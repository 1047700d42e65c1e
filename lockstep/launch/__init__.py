"""What a DAG file imports: DAGs made from pipeline.toml, and nothing that is slow to import."""

from lockstep.launch.audit import audit_dag, audit_dags
from lockstep.launch.batch import batch_dag, batch_dags
from lockstep.launch.landing import landing_dag, landing_dags
from lockstep.launch.refused import tell_of_refused

__all__ = [
    "audit_dag",
    "audit_dags",
    "batch_dag",
    "batch_dags",
    "landing_dag",
    "landing_dags",
    "tell_of_refused",
]
