"""Airflow's audits: one DAG for each models/*/pipeline.toml."""

from pathlib import Path

from lockstep.launch import audit_dags

globals().update(audit_dags(Path(__file__).resolve().parent.parent))
