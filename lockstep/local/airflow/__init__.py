"""Airflow: the scheduler, the pages and what DAG runs need of this machine."""
