"""The approvals table: which digest may serve, who said so, when and why.

Append-only. Each approval carries the sequence after the one that its approver had seen, so of
two that are made at the same time one wins and the other is told (compare-and-swap). The
highest sequence names the only digest that may serve.

Who approved, and when, is written by the database: the login of the session. It also refuses an
approval without evidence of a certificate of that very digest that passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from lockstep.errors import Fenced, ModelRefused, UsageError
from lockstep.warehouse.connect import answering

__all__ = ["Approval", "append", "check_reason", "current", "history"]

_COLUMNS = "sequence, model_version, digest, approver, given_name, reason, approved_at, evidence"


@dataclass(frozen=True)
class Approval:
    """One row of the table."""

    sequence: int
    model_version: int
    digest: str
    """sha256 of the .onnx file, 64 hex digits."""
    approver: str | None
    """The login that approved, by the database's word; None where it was not recorded yet."""
    given_name: str | None
    """The name that the approver gave. Nobody checked it."""
    reason: str
    approved_at: datetime
    evidence: dict[str, Any]
    """What the approver relied on: the certificate's figures, the training window."""

    @property
    def who(self) -> str:
        """The approver for people: the login, and the name that was given, marked as such."""
        login = self.approver or "an unrecorded login"
        return login + (f" (name given: {self.given_name})" if self.given_name else "")


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


def check_reason(reason: str) -> None:
    """Raises UsageError without a reason."""
    if not reason.strip():
        raise UsageError(
            f"an approval needs a reason, and {reason!r} is none", next="add --reason TEXT"
        )


def append(
    conn: psycopg.Connection[Any],
    *,
    after: Approval | None,
    model_version: int,
    digest: str,
    reason: str,
    evidence: dict[str, Any],
    given_name: str | None = None,
) -> Approval:
    """Approve `digest`, provided that `after` still is the current approval.

    Waits for a publish that is under way, so that each publish lies wholly before or after.
    `evidence["certificate"]` says of which digest it is ("digest"), that it holds ("passed") and
    over how many rows ("rows").
    Raises Fenced when another approval came first, UsageError without a reason, ModelRefused
    without such evidence.
    """
    check_reason(reason)
    sequence = after.sequence + 1 if after else 1
    try:
        with (
            answering(conn, waits_for=("approvals",)),
            conn.transaction(),
            conn.cursor(row_factory=class_row(Approval)) as cursor,
        ):
            # The insert itself waits: a publish locks the table against it.
            cursor.execute("SET LOCAL lock_timeout = '30s'")
            row = cursor.execute(
                "INSERT INTO approvals"
                " (sequence, model_version, digest, given_name, reason, evidence)"
                f" VALUES (%s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
                (sequence, model_version, digest, given_name, reason, Jsonb(evidence)),
            ).fetchone()
    except pg.UniqueViolation:
        newest = current(conn)
        first = f"{newest.sequence}, of version {newest.model_version}" if newest else "another"
        raise Fenced(
            f"approval {first} came first; yours would have followed approval {sequence - 1}",
            left="the approvals as they are; yours was not recorded",
            next="look at it (lockstep models USE_CASE) and approve again if you still mean it",
        ) from None
    except pg.CheckViolation as error:
        raise ModelRefused(
            f"approval: the warehouse refuses it: {error.diag.message_primary}",
            left="the approvals as they are; yours was not recorded",
            next="lockstep approve USE_CASE VERSION --reason TEXT (it reads the certificate)",
        ) from None
    assert row is not None  # noqa: S101 - RETURNING gives the inserted row
    return row
