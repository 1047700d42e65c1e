# MLflow's server at the locked version. Its own image has no driver for Postgres.
FROM python:3.11-slim-bookworm
RUN pip install --no-cache-dir 'uv>=0.11,<1' && useradd --create-home mlflow \
    && install -d -o mlflow -g mlflow /artifacts
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy PATH=/opt/venv/bin:$PATH
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-install-project --no-cache --extra registry
USER mlflow
CMD ["mlflow", "server", "--host", "0.0.0.0", "--artifacts-destination", "/artifacts"]
