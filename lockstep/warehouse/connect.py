"""Connections to the warehouse: one role of one use case each, never more.

A login is a member of group roles named USE_CASE_ROLE; each connection takes exactly one of them
at its start, with that use case's schema as its search path. So one login may serve several use
cases, and a connection sees one. (What a login inherits: lockstep.warehouse.logins.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping

from lockstep.errors import (
    Fenced,
    LockstepError,
    PublishRefused,
    Transient,
    Unreachable,
    UsageError,
)
from lockstep.names import use_case_fault
from lockstep.trouble import Trouble
from lockstep.warehouse.trouble import postgres_trouble
from lockstep.warehouse.waiting import holders

if TYPE_CHECKING:
    import sqlalchemy

    from lockstep.settings import Settings

__all__ = [
    "ROLES",
    "answering",
    "connect",
    "conninfo",
    "engine",
    "group",
    "open_connection",
    "where",
]

ROLES = ("owner", "scorer", "releaser", "analyst")

# A peer that vanished is noticed in about half a minute, not after TCP's two hours.
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "connect_timeout": 10,
}
# A process frozen inside a transaction must not block its successor for ever. A batch
# publish and a worker's micro-batch take milliseconds; a minute is a dead one.
_SESSION = {
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
}
# A query is planned before its own snapshot is taken. One that is planned just before a publish
# and runs just after it would follow the new publish_id into partitions it does not know, and
# find the day empty. In a repeatable read transaction the snapshot comes first.
_ISOLATION = {"analyst": "repeatable\\ read"}
# What functions of the schema raise; detail and hint say what is left behind and what is next.
_REFUSALS: dict[str, type[LockstepError]] = {"LS001": PublishRefused, "LS002": Fenced}
# libpq keeps the SQLSTATE of a refused connect to itself. What it does tell, in whatever language
# the server speaks: whether it takes connections (a ping), and for a first connect the words.
_NOT_YET = (
    "starting up",
    "shutting down",
    "recovery",
    "too many",
    "remaining connection slots",
    "terminating connection",
    "out of memory",
)
_known: set[str] = set()
"""Connection strings that were good once in this process: what refuses them later passes."""


def group(use_case: str, role: str) -> str:
    """The group role that `role` takes in `use_case`. Raises UsageError for an unusable name."""
    if said := use_case_fault(use_case):
        raise UsageError(f"{use_case!r} {said}", next="rename the use case")
    if role not in ROLES:
        raise UsageError(f"there is no warehouse role {role!r} (known: {', '.join(ROLES)})")
    return f"{use_case}_{role}"


def conninfo(settings: Settings, role: str, use_case: str) -> str:
    """The libpq connection string of `role` in `use_case`, password included: never print it.

    For whoever opens connections by themselves (ADBC in a Spark task). Options that the
    configured address carries are kept.
    """
    name = group(use_case, role)
    base = settings.url(role)
    known = conninfo_to_dict(base)
    isolation = _ISOLATION.get(role, "read\\ committed")
    session = {
        "role": name,
        # Nobody but the owner creates anything in the schema; temporary tables come last.
        "search_path": f"{use_case},pg_temp",
        "default_transaction_isolation": isolation,
        **_SESSION,
    }
    options = " ".join(f"-c {key}={value}" for key, value in session.items())
    given = {
        **{key: value for key, value in _KEEPALIVE.items() if key not in known},
        "application_name": known.get("application_name") or f"lockstep {use_case} {role}",
        "options": f"{known.get('options') or ''} {options}".strip(),
    }
    return make_conninfo(base, **given)


def connect(settings: Settings, role: str, use_case: str) -> psycopg.Connection[Any]:
    """A connection as `role` of `use_case`, in autocommit mode.

    So a stray read leaves no transaction open, and `with connection.transaction()` always is a
    whole transaction. `commit()` and `rollback()` outside of one do nothing.

    Raises Unreachable (naming host and port) when nothing answers, and UsageError when the server
    takes connections and refuses this one: wrong password, no such database, use case not
    migrated. What this process connected with before was right: refused later, it is Unreachable.
    """
    return open_connection(conninfo(settings, role, use_case), use_case)


def open_connection(
    info: str, use_case: str, *, autocommit: bool = True
) -> psycopg.Connection[Any]:
    """Connect with a connection string, with the errors of `connect`."""
    try:
        connection = psycopg.connect(info, autocommit=autocommit)
    except psycopg.OperationalError as error:
        raise _refused(error, info, use_case) from None
    _known.add(info)
    return connection


def engine(settings: Settings, role: str, use_case: str) -> sqlalchemy.Engine:
    """A SQLAlchemy engine; it begins and commits transactions as SQLAlchemy does."""
    import sqlalchemy

    info = conninfo(settings, role, use_case)
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: open_connection(info, use_case, autocommit=False),
        pool_pre_ping=True,
        pool_size=2,
    )


@contextmanager
def answering(
    connection: psycopg.Connection[Any],
    use_case: str | None = None,
    waits_for: Sequence[str] | None = None,
) -> Iterator[None]:
    """Turn what psycopg raises when the warehouse goes away, or refuses, into our errors.

    Unreachable for a lost connection, Transient for what passes while it lives (a lock that did
    not come in time, a full disk), UsageError for a schema that was not migrated, and what the
    schema's own functions refuse, as they word it. Everything else passes through.
    `waits_for` are the tables whose locks the caller needs: who holds them is named.
    """
    there = _where_of(connection)
    use_case = use_case or _use_case_of(connection)
    try:
        yield
    except (
        pg.UndefinedTable,
        pg.InvalidSchemaName,
        pg.UndefinedColumn,
        pg.UndefinedFunction,
    ) as error:
        raise UsageError(
            f"the warehouse at {there} is not up to date: {_first_line(error)}",
            next=f"lockstep migrate {use_case}",
        ) from error
    except psycopg.Error as error:
        if refusal := _REFUSALS.get(error.sqlstate or ""):
            said = error.diag
            raise refusal(
                said.message_primary or str(error), left=said.message_detail, next=said.message_hint
            ) from None
        if postgres_trouble(error) is not Trouble.PASSING:
            raise
        if connection.closed:
            raise Unreachable(
                f"the warehouse at {there} stopped answering: {_first_line(error)}",
                left="nothing half-written: the transaction was not committed, or was committed"
                " whole",
                next="lockstep status; then run the same command again",
            ) from error
        held: dict[int, str] = {}
        if isinstance(error, pg.LockNotAvailable) or (
            waits_for and isinstance(error, pg.QueryCanceled)
        ):
            held = holders(connection, use_case, waits_for)
        raise Transient(
            f"the warehouse at {there} could not go on: {_first_line(error)}"
            + (f"; the lock is held by {'; '.join(held.values())}" if held else ""),
            left="nothing: the transaction was rolled back",
            next="try again"
            + (
                f"; an administrator ends it: select pg_terminate_backend({min(held)})"
                if held
                else ""
            ),
        ) from error


def where(conninfo: str) -> str:
    """host:port of a connection string: what may be shown of it."""
    known = conninfo_to_dict(conninfo)
    return f"{known.get('host') or 'localhost'}:{known.get('port') or 5432}"


def _refused(error: psycopg.OperationalError, info: str, use_case: str) -> Exception:
    known = conninfo_to_dict(info)
    text = _first_line(error)
    # A server that answers says FATAL; anything else never reached one.
    if (
        "FATAL:" not in text
        or info in _known
        or any(reason in text for reason in _NOT_YET)
        or PGconn.ping(info.encode()) != Ping.OK
    ):
        return Unreachable(
            f"the warehouse at {where(info)} does not answer: {text}",
            next="lockstep status (lockstep up starts the local one)",
        )
    text = text.split("FATAL:", 1)[1].strip()
    if "role" in text and "password" not in text and use_case in text:
        return UsageError(
            f"the warehouse at {where(info)} does not know {use_case!r}: {text}",
            next=f"lockstep migrate {use_case}",
        )
    return UsageError(
        f"the warehouse at {where(info)} refused user {known.get('user') or '(none)'}: {text}",
        next="correct the LOCKSTEP_*_URL of this role",
    )


def _where_of(connection: psycopg.Connection[Any]) -> str:
    # A closed connection no longer knows.
    try:
        return f"{connection.info.host}:{connection.info.port}"
    except psycopg.Error:
        return "an unknown address"


def _use_case_of(connection: psycopg.Connection[Any]) -> str:
    try:
        options = connection.info.get_parameters().get("options", "")
    except psycopg.Error:
        options = ""
    found = re.search(r"search_path=(\w+)", options)
    return found[1] if found else "USE_CASE"


def _first_line(error: psycopg.Error) -> str:
    if error.diag.message_primary:
        return error.diag.message_primary
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
