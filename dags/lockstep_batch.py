"""Airflow's DAGs: one for each models/*/pipeline.toml."""

from pathlib import Path

from lockstep.launch import batch_dags

globals().update(batch_dags(Path(__file__).resolve().parent.parent))
