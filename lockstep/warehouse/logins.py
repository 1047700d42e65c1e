"""Who may log in as what, and where the session of an analyst begins who types no SET ROLE.

A login inherits nothing and takes one role for each connection (lockstep.warehouse.connect),
except the analysts': psql and BI tools take no role, so that login has its groups' rights at once,
reads in snapshots, and finds the views by their names where only one use case has them for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lockstep.warehouse.connect import ROLES, group

if TYPE_CHECKING:
    from lockstep.settings import Settings

__all__ = ["admit_logins", "grant"]

_MEMBER = """
    SELECT 1 FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles g ON g.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member
    WHERE g.rolname = %s AND u.rolname = %s AND m.set_option AND m.inherit_option >= %s
"""
_READS = """
    SELECT n.nspname FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_roles g ON g.rolname = n.nspname || '_analyst'
    JOIN pg_catalog.pg_auth_members m ON m.roleid = g.oid AND m.inherit_option
    JOIN pg_catalog.pg_roles u ON u.oid = m.member
    WHERE u.rolname = %s
"""
"""The schemas whose views a login reads without taking a role."""
_BEGINS_WITH = """
    SELECT DISTINCT ON (1) pg_catalog.split_part(c, '=', 1),
        pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,
        pg_catalog.unnest(s.setconfig) c
    WHERE r.rolname = %s AND s.setdatabase IN (
        0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
    )
    ORDER BY 1, s.setdatabase DESC
"""
"""Settings of a login's sessions here; what is said for this database comes before the rest."""
_USE_CASES = """
    SELECT n.nspname FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_roles g ON g.rolname = n.nspname || '_analyst'
"""
"""The schemas of all use cases here, whoever reads them."""


def admit_logins(
    conn: psycopg.Connection[Any], settings: Settings, use_case: str
) -> tuple[str, ...]:
    """Make the login of each configured address a member of its group, where it exists.

    Returns what else an analyst's login needs and the migrating login may not do, as notes.
    """
    logins = {role: _login(settings, role) for role in ROLES}
    rows = conn.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(logins.values()),)
    )
    there = {name for (name,) in rows}
    for role, login in logins.items():
        if login in there:
            grant(conn, group(use_case, role), login, inherit=role == "owner")
    analyst = logins.pop("analyst")
    if analyst not in there or analyst in logins.values():
        return ()
    return _open_views(conn, analyst, use_case)


def grant(conn: psycopg.Connection[Any], granted: str, member: str, *, inherit: bool) -> None:
    """Membership, unless it is there. Without `inherit` it counts only after SET ROLE."""
    present = conn.execute(_MEMBER, (granted, member, inherit)).fetchone()
    if present is None and granted != member:
        conn.execute(_grant(granted, member, inherit=inherit))


def _open_views(conn: psycopg.Connection[Any], login: str, use_case: str) -> tuple[str, ...]:
    """Let an analyst's login read without SET ROLE. It could take the role; it gains nothing."""
    refused, notes = [], []
    for statement, note in _missing(conn, login, use_case):
        try:
            with conn.transaction():
                conn.execute(statement)
        except pg.InsufficientPrivilege:
            refused.append(statement.as_string(conn))
        else:
            notes += [note] if note else []
    if refused:
        notes.append(
            f"{conn.info.user} may not alter {login}; for psql and BI tools, let an administrator"
            f" run: {'; '.join(refused)}"
        )
    return tuple(notes)


def _missing(
    conn: psycopg.Connection[Any], login: str, use_case: str
) -> Iterator[tuple[sql.Composed, str | None]]:
    """Statements, each with a note for who must know that it was run."""
    granted = group(use_case, "analyst")
    if conn.execute(_MEMBER, (granted, login, True)).fetchone() is None:
        yield _grant(granted, login, inherit=True), None
    begins = dict(conn.execute(_BEGINS_WITH, (login,)).fetchall())
    alter = sql.SQL("ALTER ROLE {} IN DATABASE {} ").format(
        sql.Identifier(login), sql.Identifier(conn.info.dbname)
    )
    # Why not READ COMMITTED: docs/adr/0006.
    if begins.get("default_transaction_isolation") not in ("repeatable read", "serializable"):
        yield alter + sql.SQL("SET default_transaction_isolation = 'repeatable read'"), None
    # Every use case has views of the same names: of several, none is the one that was meant.
    current = begins.get("search_path")
    known = [name for (name,) in conn.execute(_USE_CASES).fetchall()]
    if current is not None and not any(current in _path_of(schema) for schema in known):
        return  # somebody's choice
    schemas = [name for (name,) in conn.execute(_READS, (login,)).fetchall()]
    if len(schemas) == 1:
        [schema] = schemas
        if current not in _path_of(schema):
            yield (
                alter + sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(schema)),
                None,
            )
    elif current is not None:
        yield (
            alter + sql.SQL("RESET search_path"),
            f"{login} reads several use cases now, and no longer finds one's views by their bare"
            " names: write USE_CASE.predictions, or set search_path = USE_CASE once a session",
        )


def _path_of(schema: str) -> tuple[str, str]:
    """A search path that was set here, as the server may write it."""
    return f"{schema}, pg_temp", f'"{schema}", pg_temp'


def _login(settings: Settings, role: str) -> str:
    address = getattr(settings, f"{role}_url")
    named = conninfo_to_dict(address.get_secret_value()).get("user") if address else None
    return str(named or f"lockstep_{role}")


def _grant(granted: str, member: str, *, inherit: bool) -> sql.Composed:
    return sql.SQL("GRANT {} TO {} WITH INHERIT {}, SET TRUE").format(
        sql.Identifier(granted), sql.Identifier(member), sql.SQL(str(inherit).upper())
    )
