"""Bring a use case's schema up to date: roles, schema, tables, and who may log in as what.

Idempotent, and quick when there is nothing to do. The address of the role `owner` must be able
to create roles and schemas the first time (a superuser, or CREATEROLE and CREATE on the
database).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

from lockstep.errors import UsageError
from lockstep.warehouse.connect import ROLES, answering, group, open_connection
from lockstep.warehouse.logins import admit_logins, grant
from lockstep.warehouse.strangers import lock_theirs, outlast_writers, refuse_strangers
from lockstep.warehouse.waiting import MIGRATION_LOCK

if TYPE_CHECKING:
    from lockstep.settings import Settings

__all__ = ["MIGRATIONS", "Migrated", "upgrade"]

MIGRATIONS = Path(__file__).parent / "migrations"
_PATIENCE = 60.0
"""Seconds: how long a migration waits for a lock. Whoever comes after it waits as well."""


@dataclass(frozen=True)
class Migrated:
    """What `upgrade` found and made of it."""

    use_case: str
    before: str | None
    """The revision before; None for a schema that did not exist."""
    after: str
    notes: tuple[str, ...] = ()
    """What is left to somebody with more rights; nothing of Lockstep's own waits for it."""

    @property
    def changed(self) -> bool:
        return self.before != self.after


def upgrade(settings: Settings, use_case: str, migrations: Path = MIGRATIONS) -> Migrated:
    """Create or upgrade the schema of `use_case`, and let the configured logins use it.

    Raises UsageError without Alembic, Unreachable without warehouse.
    """
    group(use_case, "owner")
    info = settings.url("owner")
    with (
        open_connection(info, use_case) as conn,
        answering(conn, use_case),
        _allowed(conn, use_case),
    ):
        # Whatever somebody may have put where this login looks names up: not here.
        conn.execute("SET search_path = pg_catalog, pg_temp")
        # 1. One migration at a time; the lock ends with the session. Everybody can take such a
        # lock, so the wait is bounded.
        conn.execute(f"SET lock_timeout = '{_PATIENCE * 1000:.0f}ms'")
        conn.execute("SELECT pg_catalog.pg_advisory_lock(%s, %s)", MIGRATION_LOCK)
        # 2. Group roles and the schema: what the migrations run as, and in.
        with conn.transaction():
            _make_groups(conn, use_case)
            _make_schema(conn, use_case)
            _let_stage(conn, use_case)
        # What was being created in it until now is seen by the search that comes next.
        outlast_writers(conn, use_case, _PATIENCE)
        # 3. The tables, in one transaction.
        before, after = _run_scripts(info, use_case, migrations)
        # 4. Logins change without a migration, so this is looked at every time.
        with conn.transaction():
            notes = admit_logins(conn, settings, use_case)
    return Migrated(use_case, before, after, notes)


@contextmanager
def _allowed(conn: psycopg.Connection[Any], use_case: str) -> Iterator[None]:
    login = conn.info.user
    try:
        yield
    except pg.InsufficientPrivilege as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"the login {login} may not migrate {use_case}: {reason}",
            left="the schema as it was; at most new group roles without rights",
            next="let LOCKSTEP_OWNER_URL name a login that may create roles and, in this"
            " database, schemas (for roles that exist already: a member with ADMIN OPTION)",
        ) from None


def _make_groups(conn: psycopg.Connection[Any], use_case: str) -> None:
    wanted = {group(use_case, role) for role in ROLES}
    # Roles belong to the whole server: another database may have made them.
    present = {
        name
        for (name,) in conn.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(wanted),)
        )
    }
    for name in sorted(wanted - present):
        conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    owner, scorer = group(use_case, "owner"), group(use_case, "scorer")
    me = conn.execute("SELECT current_user").fetchone()
    assert me is not None  # noqa: S101 - the statement returns one row
    # The migrating login acts as the owner; the first migrations handed tables to the scorer, and
    # the third took them back.
    for granted, member in ((owner, me[0]), (scorer, me[0]), (scorer, owner)):
        grant(conn, granted, member, inherit=True)


def _make_schema(conn: psycopg.Connection[Any], use_case: str) -> None:
    schema = sql.Identifier(use_case)
    owner, scorer, releaser, analyst = (
        sql.Identifier(group(use_case, role)) for role in ("owner", "scorer", "releaser", "analyst")
    )
    if conn.execute("SELECT to_regnamespace(%s)", (use_case,)).fetchone() == (None,):
        conn.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, owner))
        conn.execute(
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}, {}, {}").format(
                schema, scorer, releaser, analyst
            )
        )
        return
    # It is everybody's search path: nobody but the owner may put anything there.
    conn.execute(
        sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC, {}, {}, {}").format(
            schema, scorer, releaser, analyst
        )
    )


def _let_stage(conn: psycopg.Connection[Any], use_case: str) -> None:
    """Staging goes through temporary tables, which some databases allow to nobody."""
    scorer = group(use_case, "scorer")
    allowed = "SELECT has_database_privilege(%s, current_database(), 'TEMPORARY')"
    if conn.execute(allowed, (scorer,)).fetchone() == (True,):
        return
    database = sql.Identifier(conn.info.dbname)
    grant = sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(database, sql.Identifier(scorer))
    # Postgres only warns when the login may not grant this.
    conn.execute(grant)
    if conn.execute(allowed, (scorer,)).fetchone() != (True,):
        raise UsageError(
            f"{scorer} may not make temporary tables in the database {conn.info.dbname}",
            left="nothing changed",
            next=f"let the database's owner run: {grant.as_string(conn)}",
        )


def _run_scripts(info: str, use_case: str, migrations: Path) -> tuple[str | None, str]:
    try:
        from alembic import command
        from alembic.config import Config
        from alembic.migration import MigrationContext
        from alembic.script import ScriptDirectory
    except ImportError:
        raise UsageError(
            "migrating the warehouse needs Alembic, which is not installed",
            next="uv sync --extra local (or pip install alembic)",
        ) from None
    import sqlalchemy

    config = Config()
    config.set_main_option("script_location", str(migrations.absolute()).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None  # noqa: S101 - there is at least the first revision
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: open_connection(info, use_case, autocommit=False),
        poolclass=sqlalchemy.NullPool,
    )
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f'SET LOCAL ROLE "{group(use_case, "owner")}"')
            connection.exec_driver_sql(f'SET LOCAL search_path = "{use_case}", pg_temp')
            # A table is changed when nobody reads it; whoever comes after us waits with us.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE * 1000:.0f}ms'")
            warehouse = connection.connection.driver_connection
            assert warehouse is not None  # noqa: S101 - it has just answered
            lock_theirs(warehouse, use_case)
            refuse_strangers(warehouse, use_case)
            opts = {"version_table": "schema_version"}
            before = MigrationContext.configure(connection, opts=opts).get_current_revision()
            if before != head:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except sqlalchemy.exc.DBAPIError as error:
        # What psycopg said, for those who know its errors.
        raise (error.orig or error) from error
    return before, head
