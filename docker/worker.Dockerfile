# Two images from one base.
#   worker: a streaming worker; neither Spark nor Airflow nor the training libraries nor models/
#   tools:  everything that a person types; trains, approves, replays, compares
FROM python:3.11-slim-bookworm AS base
RUN pip install --no-cache-dir 'uv>=0.11,<1' && useradd --create-home lockstep
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy \
    PATH=/opt/venv/bin:$PATH PYTHONPATH=/app LOCKSTEP_HOME=/var/lib/lockstep
WORKDIR /app
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY lockstep lockstep
RUN install -d -o lockstep -g lockstep /var/lib/lockstep /lake

FROM base AS worker
RUN uv sync --locked --no-dev --no-editable --no-cache --extra stream
COPY streaming streaming
# Deployment configuration, which is data; the training code stays outside.
COPY models/blood_glucose/pipeline.toml models/blood_glucose/pipeline.toml
COPY models/flight_delay/pipeline.toml models/flight_delay/pipeline.toml
USER lockstep
ENTRYPOINT ["lockstep"]
CMD ["stream", "flight_delay"]

FROM base AS tools
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && uv sync --locked --no-dev --no-editable --no-cache \
       --extra batch --extra local --extra registry --extra stream --extra train
COPY . .
USER lockstep
ENTRYPOINT ["lockstep"]
CMD ["--help"]
