"""Logins as a company makes them, and sessions as psql and BI tools begin them."""

from __future__ import annotations

import uuid

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from lockstep.settings import Settings

__all__ = ["make_login", "plainly"]


def make_login(settings: Settings, maker: str | None = None) -> Settings:
    """A fresh analyst's login, as settings with its address; `maker` makes it, else the owner."""
    name, password = f"ada_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with psycopg.connect(maker or settings.url("owner"), autocommit=True) as conn:
        role, database = sql.Identifier(name), sql.Identifier("lockstep")
        conn.execute(
            sql.SQL("create role {} login password {}").format(role, sql.Literal(password))
        )
        conn.execute(sql.SQL("grant connect on database {} to {}").format(database, role))
    place = conninfo_to_dict(settings.url("analyst"))
    address = "postgresql://{}:{}@{host}:{port}/{dbname}".format(name, password, **place)
    return settings.model_copy(update={"analyst_url": SecretStr(address)})


def plainly(settings: Settings, **more: str) -> psycopg.Connection:
    """A session of the analyst's login: no role taken, no options, nothing but the address."""
    return psycopg.connect(settings.url("analyst"), autocommit=True, **more)
