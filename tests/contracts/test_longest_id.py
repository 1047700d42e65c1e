"""The longest id that a contract allows fits into every index that holds one."""

from __future__ import annotations

import random
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from lockstep.contracts import Contract
from lockstep.errors import UsageError
from lockstep.warehouse.tables import metadata
from tests.house import House, house, use_case

__all__ = ["house", "use_case"]

LONGEST = 512
_VALUES = {
    "text": "'" + "f" * 64 + "'",
    "date": "current_date",
    "timestamp with time zone": "now()",
    "boolean": "false",
    "ARRAY": "'{}'",
    "jsonb": "'[]'",
}


def incompressible(characters: int) -> str:
    """Four bytes each in UTF-8, which Postgres cannot make shorter."""
    draw = random.Random(1)
    return "".join(chr(draw.randrange(0x10000, 0x110000)) for _ in range(characters))


def insert(conn: psycopg.Connection, table: str, id: str) -> None:
    """A row with this id into a copy of the table with the same indexes."""
    conn.execute(f"drop table if exists copied; create temp table copied (like {table} including"
                 " indexes)")  # fmt: skip
    columns = conn.execute(
        "select column_name, data_type from information_schema.columns where table_name = 'copied'"
    ).fetchall()
    values = [
        sql.Literal(id) if name == "event_id" else sql.SQL(_VALUES.get(kind, "0"))
        for name, kind in columns
    ]
    names = [sql.Identifier(name) for name, _ in columns]
    comma = sql.SQL(", ")
    conn.execute(
        sql.SQL("insert into copied ({}) values ({})").format(comma.join(names), comma.join(values))
    )


def test_the_longest_id_fits_and_one_that_is_longer_does_not(house: House) -> None:
    conn = house.connect("owner")
    holding = [table.name for table in metadata.sorted_tables if "event_id" in table.columns]
    assert len(holding) >= 2
    for table in holding:
        insert(conn, table, incompressible(LONGEST))
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            insert(conn, table, incompressible(LONGEST + 256))


def test_a_longer_id_is_no_contract() -> None:
    document = dict(Contract.load(Path("schemas/flight_delay/departure.v1.json")).document)
    for longest in (LONGEST, LONGEST + 1):
        id = {"type": "string", "maxLength": longest}
        document["properties"] = document["properties"] | {"event_id": id}
        if longest == LONGEST:
            Contract.from_document(document)
    with pytest.raises(UsageError, match="more than fit into an index of Postgres"):
        Contract.from_document(document)
