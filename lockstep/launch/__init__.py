"""What a DAG file imports: DAGs made from pipeline.toml, and nothing that is slow to import."""

from lockstep.launch.batch import batch_dag, batch_dags

__all__ = ["batch_dag", "batch_dags"]
