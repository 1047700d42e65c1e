"""Approving a version: checked against the registry's own bytes, then appended to the table.

1. What is approved now: the new approval will follow this one, or nothing.
2. The registry has the version, and it carries a digest.
3. The registry's bytes have that digest (the registry's, not a cached copy).
4. The file opens: operators, manifest, golden vectors; and is of this use case.
5. The certificate stored with it is of that digest, and it holds.
6. The approval is appended by compare-and-swap. From now on it counts.
7. The registry's alias `champion` is made to say the same, loudly where it said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockstep.compiled_model import open_model
from lockstep.compiled_model.certificate import Certificate
from lockstep.compiled_model.opening import digest_of
from lockstep.errors import LockstepError, ModelRefused
from lockstep.registry.approvals import Approval, append, check_reason, current
from lockstep.registry.approved import check_use_case
from lockstep.registry.mlflow import (
    CERTIFICATE_FILE,
    CHAMPION,
    MODEL_FILE,
    ModelVersion,
    aliases,
    fetch_artifact,
    keep_model,
    model_version,
    set_alias,
)

if TYPE_CHECKING:
    import psycopg

    from lockstep.compiled_model import CompiledModel
    from lockstep.settings import Settings

__all__ = ["Checked", "Mirrored", "Release", "approve_version", "check_version", "mirror_champion"]


@dataclass(frozen=True)
class Checked:
    """A version that may be approved: all of `check_version` held."""

    version: ModelVersion
    model: CompiledModel
    certificate: Certificate

    def evidence(self) -> dict[str, Any]:
        """What an approval of it records."""
        training = self.model.manifest.training
        return {
            # The warehouse reads this before it records an approval: see approvals_guard.
            "certificate": {
                "digest": self.certificate.digest,
                "passed": True,
                "rows": self.certificate.rows(),
                "says": self.certificate.summary(),
            },
            "trained": [training.trained_from, training.trained_until],
            "tested": [training.tested_from, training.tested_until],
            "metrics": training.metrics,
        }


@dataclass(frozen=True)
class Mirrored:
    """What became of the alias `champion`."""

    before: int | None
    after: int
    moved_by_hand: bool
    """It named a version that was not the approved one."""


@dataclass(frozen=True)
class Release:
    """The approval that counts now, and whether this call made it."""

    approval: Approval
    changed: bool
    certificate: str
    champion: Mirrored


def approve_version(
    settings: Settings,
    use_case: str,
    version: int,
    conn: psycopg.Connection[Any],
    *,
    reason: str,
    given_name: str | None = None,
) -> Release:
    """Approve a registered version. `conn` is the releaser's; its login is the approver.

    Approving the digest that serves already appends nothing, but still mirrors the alias.
    Raises ModelRefused naming what does not fit, Fenced when another approval came first,
    Unreachable when registry or warehouse do not answer.
    """
    check_reason(reason)
    before = current(conn)  # 1
    checked = check_version(settings, use_case, version)  # 2 to 5
    digest = checked.model.digest
    changed = before is None or before.digest != digest
    approval = before
    if approval is None or changed:
        approval = append(  # 6
            conn,
            after=before,
            model_version=version,
            digest=digest,
            given_name=given_name,
            reason=reason,
            evidence=checked.evidence(),
        )
    try:
        champion = mirror_champion(settings, use_case, approval, before)  # 7
    except LockstepError as error:
        raise type(error)(
            f"{error.message}: the alias {CHAMPION} was not set",
            left=f"approval {approval.sequence} counts: version {approval.model_version}"
            f" (digest {approval.digest[:12]}) serves; only the alias lags behind",
            next=f"lockstep approve {use_case} {version} --reason ... (again: it sets the alias)",
        ) from error
    return Release(approval, changed, checked.certificate.summary(), champion)


def check_version(settings: Settings, use_case: str, version: int) -> Checked:
    """Steps 2 to 5. Raises ModelRefused naming the one that does not fit."""
    found = model_version(settings, use_case, version)
    if not found.digest:
        raise ModelRefused(
            f"digest: version {version} of {use_case} carries no digest tag:"
            " it was not registered by lockstep train",
            next=f"lockstep models {use_case}",
        )
    data = fetch_artifact(settings, use_case, version, MODEL_FILE)
    actual = digest_of(data)
    if actual != found.digest:
        raise ModelRefused(
            f"bytes: version {version} of {use_case} has sha256 {actual} ({len(data):,} bytes),"
            f" its digest tag says {found.digest}: one of them was altered",
            next=f"lockstep train {use_case} --again, then approve the new version",
        )
    model = open_model(data, digest=found.digest)
    check_use_case(model, use_case)
    stored = fetch_artifact(settings, use_case, version, CERTIFICATE_FILE)
    certificate = _read_certificate(stored, use_case, version, found.digest)
    keep_model(settings.home / "models" / f"{found.digest}.onnx", data)
    return Checked(found, model, certificate)


def mirror_champion(
    settings: Settings, use_case: str, approval: Approval, before: Approval | None
) -> Mirrored:
    """Make the alias name the approved version. The caller says it loudly where it was moved.

    `before` is the approval that counted until now: where the alias should have been.
    """
    named = aliases(settings, use_case).get(CHAMPION)
    rightly = {approval.model_version, before.model_version if before else None}
    moved = named not in rightly and not (named is None and before is None)
    if named != approval.model_version:
        set_alias(settings, use_case, CHAMPION, approval.model_version)
    return Mirrored(named, approval.model_version, moved)


def _read_certificate(stored: bytes, use_case: str, version: int, digest: str) -> Certificate:
    again = f"lockstep train {use_case} --again, then approve the new version"
    where = f"the one stored with version {version} of {use_case}"
    try:
        certificate = Certificate.from_json(stored)
    except ModelRefused as error:
        raise ModelRefused(f"certificate: {where}: {error.message}", next=again) from None
    if certificate.digest != digest:
        raise ModelRefused(
            f"certificate: {where} is of {certificate.digest[:12]}, the model is {digest[:12]}",
            next=again,
        )
    failed = [name for name, compared in certificate.compared.items() if not compared.holds]
    if failed or not certificate.rows():
        why = f"{', '.join(failed)}: {certificate.summary()}" if failed else "no row was compared"
        raise ModelRefused(f"certificate: {where} does not hold ({why})", next=again)
    return certificate
