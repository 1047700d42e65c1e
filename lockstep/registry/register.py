"""Register a certified model in MLflow. Needs the `registry` extra; importing it takes seconds."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.certificate import Certificate
from lockstep.compiled_model.native_file import NativeFile
from lockstep.errors import ModelRefused, Unreachable, UsageError
from lockstep.registry.mlflow import (
    CERTIFICATE_FILE,
    DIGEST_TAG,
    FINGERPRINT_TAG,
    MODEL_FILE,
    NATIVE_FILE,
    NATIVE_TAG,
    ModelVersion,
    aliases,
    keep_model,
    model_version,
)
from lockstep.registry.rest import Rest
from lockstep.settings import Settings

__all__ = ["register"]


def register(
    settings: Settings,
    model: CompiledModel,
    certificate: Certificate,
    *,
    native: NativeFile,
    fingerprint: str,
) -> ModelVersion:
    """Store model, certificate and native model in a run, and make a version of it.

    `native` is the model as its library saves it: what a later `lockstep verify` compares with.
    Raises ModelRefused when the certificate is of another model, Unreachable without a registry.
    """
    if certificate.digest != model.digest:
        raise ModelRefused(
            f"the certificate is of {certificate.digest}, the model is {model.digest}"
        )
    manifest = model.manifest
    # Answers at once when the registry is down; the client would wait, and be imported first.
    aliases(settings, manifest.use_case)
    client, failure = _client(settings)
    training = manifest.training
    try:
        experiment = client.get_experiment_by_name(manifest.use_case)
        identity = (
            experiment.experiment_id if experiment else client.create_experiment(manifest.use_case)
        )
        run = client.create_run(identity, run_name=model.digest[:12])
        run_id = run.info.run_id
        for key, value in training.parameters.items():
            client.log_param(run_id, key, value)
        for key, value in training.metrics.items():
            client.log_metric(run_id, key, value)
        files = {
            MODEL_FILE: model.data,
            CERTIFICATE_FILE: certificate.to_json().encode(),
            NATIVE_FILE + native.suffix: native.data,
        }
        _upload(client, run_id, files)
        client.set_terminated(run_id)
        version = _create_version(
            client, failure, model, run, _tags(model, certificate, native, fingerprint)
        )
    except failure as error:
        raise Unreachable(
            f"the model registry at {Rest(settings.mlflow).url} did not take the model: {error}",
            left="at most an unfinished run; no version of the model",
            next=f"lockstep status, then lockstep train {manifest.use_case}",
        ) from None
    keep_model(settings.home / "models" / f"{model.digest}.onnx", model.data)
    return model_version(settings, manifest.use_case, int(version.version))


def _client(settings: Settings) -> tuple[Any, type[Exception]]:
    # Read when mlflow is imported: a server that is down should be reported in seconds.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    server = Rest(settings.mlflow)
    if server.login is not None:
        # Not in the address, which mlflow puts into its messages.
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = (
            server.login
        )
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise UsageError(
            "the package mlflow, which registers models, is not installed",
            next="uv sync --extra registry",
        ) from None
    # Importing it has set its own level: it tells of what it waits for, where nothing is amiss.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(server.url, server.url), MlflowException


def _upload(client: Any, run_id: str, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run_id, folder)


def _create_version(
    client: Any, failure: type[Exception], model: CompiledModel, run: Any, tags: dict[str, str]
) -> Any:
    use_case = model.manifest.use_case
    try:
        client.get_registered_model(use_case)
    except failure:
        client.create_registered_model(use_case)
    return client.create_model_version(
        use_case, source=run.info.artifact_uri, run_id=run.info.run_id, tags=tags
    )


def _tags(
    model: CompiledModel, certificate: Certificate, native: NativeFile, fingerprint: str
) -> dict[str, str]:
    training = model.manifest.training
    return {
        DIGEST_TAG: model.digest,
        FINGERPRINT_TAG: fingerprint,
        NATIVE_TAG: NATIVE_FILE + native.suffix,
        "lockstep.trained": f"{training.trained_from} until {training.trained_until}",
        "lockstep.tested": f"{training.tested_from} until {training.tested_until}",
        "lockstep.certificate": certificate.summary(),
        **{
            f"lockstep.fingerprint.{name}": value
            for name, value in model.manifest.fingerprints.items()
        },
        **{f"lockstep.metric.{name}": f"{value:.6f}" for name, value in training.metrics.items()},
    }
