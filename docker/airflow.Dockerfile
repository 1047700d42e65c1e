# Airflow's own image, with Java, Spark and the batch half of Lockstep, at the locked versions.
# Spark's master and workers run from it too: driver and executors need the same Python.
FROM apache/airflow:3.3.0-python3.11
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o airflow -g 0 /opt/lockstep /lake /var/lib/lockstep
USER airflow
WORKDIR /opt/lockstep
COPY --chown=airflow:0 pyproject.toml uv.lock README.md LICENSE ./
COPY --chown=airflow:0 lockstep lockstep
RUN uv export --locked --no-dev --no-emit-project --no-hashes \
       --extra batch --extra orchestrate --output-file /tmp/locked.txt \
    && uv pip install --no-cache --requirement /tmp/locked.txt \
    && uv pip install --no-cache --no-deps .
COPY --chown=airflow:0 dags dags
COPY --chown=airflow:0 jobs jobs
# Contracts: a landing knows what it may let into the lake.
COPY --chown=airflow:0 schemas schemas
COPY --chown=airflow:0 models/blood_glucose/pipeline.toml models/blood_glucose/pipeline.toml
COPY --chown=airflow:0 models/flight_delay/pipeline.toml models/flight_delay/pipeline.toml
ENV AIRFLOW__CORE__DAGS_FOLDER=/opt/lockstep/dags AIRFLOW__CORE__LOAD_EXAMPLES=False \
    LOCKSTEP_HOME=/var/lib/lockstep PYTHONPATH=/opt/lockstep
