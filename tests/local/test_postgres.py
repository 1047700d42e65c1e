"""The local Postgres, really started, killed and started again."""

from __future__ import annotations

import psycopg
import pytest

from lockstep.local.postgres import Postgres


def test_each_role_logs_in_with_its_own_password_and_no_other(postgres: Postgres) -> None:
    for role in ("owner", "scorer", "releaser", "analyst"):
        with psycopg.connect(postgres.url(f"lockstep_{role}")) as connection:
            assert connection.execute("select current_user").fetchone() == (f"lockstep_{role}",)
    wrong = postgres.url("lockstep_scorer").replace("lockstep_scorer", "lockstep_owner")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_guests_and_roles_stay_in_their_own_database(postgres: Postgres) -> None:
    for user, database in [("airflow", "lockstep"), ("mlflow", "airflow")]:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(postgres.url(user, database))
