"""docker-compose.yaml against the repository and the lock: it is data that nothing here runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockstep.local.kafka.jars import KAFKA_VERSION
from lockstep.pipeline import Pipeline

REPOSITORY = Path(__file__).parents[2]
COMPOSE = REPOSITORY / "docker-compose.yaml"
DOCKERFILES = sorted((REPOSITORY / "docker").glob("*.Dockerfile"))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def locked(package: str) -> str:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    return str(next(entry["version"] for entry in packages if entry["name"] == package))


def test_it_has_the_parts_of_the_local_stack(services: dict[str, Any]) -> None:
    parts = {"postgres", "kafka", "mlflow", "airflow-api-server", "airflow-scheduler"}
    assert parts | {"airflow-dag-processor", "airflow-triggerer"} <= services.keys()


def test_every_port_is_published_on_loopback_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) >= 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_the_locked_versions(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    airflow = (REPOSITORY / "docker" / "airflow.Dockerfile").read_text()
    assert f"FROM apache/airflow:{locked('apache-airflow')}-python3.11\n" in airflow


def test_dockerfiles_copy_what_exists_and_name_targets_that_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        if build := service.get("build"):
            text = (REPOSITORY / build["dockerfile"]).read_text()
            target = build.get("target")
            assert target is None or re.search(rf"^FROM .* AS {target}$", text, re.M)
    for dockerfile in DOCKERFILES:
        for line in re.findall(r"^COPY (?:--\S+ )*(.+)$", dockerfile.read_text(), re.M):
            for source in line.split()[:-1]:
                assert (REPOSITORY / source).exists(), f"{dockerfile.name}: {source}"


def test_every_use_case_is_in_the_images() -> None:
    for use_case in Pipeline.use_cases(REPOSITORY / "models"):
        for name in ("worker", "airflow"):
            text = (REPOSITORY / "docker" / f"{name}.Dockerfile").read_text()
            assert f"COPY models/{use_case}/pipeline.toml" in text.replace("--chown=airflow:0 ", "")


def test_secrets_come_from_the_environment_and_are_all_made(services: dict[str, Any]) -> None:
    made = dict(
        line.split("=", 1) for line in passwords().splitlines() if line and not line.startswith("#")
    )
    text = COMPOSE.read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    assert wanted <= made.keys()
    assert not re.findall(r"\$\{\w+:?-", text), "a default would be a password in the file"
    assert len(made["AIRFLOW_JWT_SECRET"]) >= 64
    # The names that Settings reads.
    assert {f"LOCKSTEP_{role}_URL" for role in ("OWNER", "SCORER", "RELEASER", "ANALYST")} <= set(
        made
    )


def test_docker_compose_accepts_it(tmp_path: Path) -> None:
    command = ["docker", "compose"]
    if (
        shutil.which("docker") is None
        or subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("docker compose is not installed")
    (tmp_path / "env").write_text(passwords())
    arguments = ["--env-file", str(tmp_path / "env"), "--file", str(COMPOSE), "config", "--quiet"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr


def passwords() -> str:
    script = REPOSITORY / "docker" / "passwords.py"
    return subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    ).stdout
