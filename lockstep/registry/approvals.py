"""The approvals table: which digest may serve, who said so, when and why.

Append-only. Each approval carries the sequence after the one that its approver had seen, so of
two that are made at the same time one wins and the other is told (compare-and-swap). The
highest sequence names the only digest that may serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from lockstep.errors import Fenced, UsageError
from lockstep.warehouse.connect import answering
from lockstep.warehouse.publish import APPROVALS_LOCK

__all__ = ["Approval", "append", "check_words", "current", "history"]

_COLUMNS = "sequence, model_version, digest, approver, reason, approved_at, evidence"


@dataclass(frozen=True)
class Approval:
    """One row of the table."""

    sequence: int
    model_version: int
    digest: str
    """sha256 of the .onnx file, 64 hex digits."""
    approver: str
    reason: str
    approved_at: datetime
    evidence: dict[str, Any]
    """What the approver relied on: the certificate's figures, the training window."""


def current(conn: psycopg.Connection[Any]) -> Approval | None:
    """The approval that counts, or None when nothing was ever approved."""
    newest = history(conn, 1)
    return newest[0] if newest else None


def history(conn: psycopg.Connection[Any], limit: int = 20) -> list[Approval]:
    """The newest approvals, newest first."""
    with answering(conn), conn.cursor(row_factory=class_row(Approval)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM approvals ORDER BY sequence DESC LIMIT %s",
            (limit,),
        ).fetchall()


def check_words(approver: str, reason: str) -> None:
    """Raises UsageError without an approver's name or a reason."""
    for name, text in (("approver", approver), ("reason", reason)):
        if not text.strip():
            raise UsageError(
                f"an approval needs a {name}, and {text!r} is none", next=f"add --{name} TEXT"
            )


def append(
    conn: psycopg.Connection[Any],
    *,
    after: Approval | None,
    model_version: int,
    digest: str,
    approver: str,
    reason: str,
    evidence: dict[str, Any],
) -> Approval:
    """Approve `digest`, provided that `after` still is the current approval.

    Waits for a publish that is under way, so that each publish lies wholly before or after.
    Raises Fenced when another approval came first, UsageError without approver or reason.
    """
    check_words(approver, reason)
    sequence = after.sequence + 1 if after else 1
    try:
        with (
            answering(conn),
            conn.transaction(),
            conn.cursor(row_factory=class_row(Approval)) as cursor,
        ):
            cursor.execute("SET LOCAL lock_timeout = '30s'")
            cursor.execute(f"SELECT pg_advisory_xact_lock({APPROVALS_LOCK})")
            row = cursor.execute(
                "INSERT INTO approvals"
                " (sequence, model_version, digest, approver, reason, evidence)"
                f" VALUES (%s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
                (sequence, model_version, digest, approver, reason, Jsonb(evidence)),
            ).fetchone()
    except pg.UniqueViolation:
        newest = current(conn)
        first = f"{newest.sequence}, of version {newest.model_version}" if newest else "another"
        raise Fenced(
            f"approval {first} came first; yours would have followed approval {sequence - 1}",
            left="the approvals as they are; yours was not recorded",
            next="look at it (lockstep models USE_CASE) and approve again if you still mean it",
        ) from None
    assert row is not None  # noqa: S101 - RETURNING gives the inserted row
    return row
