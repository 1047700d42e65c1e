"""The local stack: real Postgres, Kafka, MLflow and Airflow for one machine."""
