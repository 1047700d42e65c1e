"""Airflow's landings: one DAG for each models/*/pipeline.toml."""

from pathlib import Path

from lockstep.launch import landing_dags

globals().update(landing_dags(Path(__file__).resolve().parent.parent))
