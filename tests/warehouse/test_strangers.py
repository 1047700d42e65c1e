"""What the scorer of an older release may have planted is named, and stops the migration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.errors import InsufficientPrivilege

from lockstep.errors import Transient, UsageError
from lockstep.warehouse.migrate import upgrade
from tests.house import House
from tests.until import until
from tests.warehouse.older_release import name, of_release

__all__ = ["name"]

FORGERY = "function hashtextextended(text,integer)"
PLANTED = {
    FORGERY: (
        "create function hashtextextended(text, integer) returns bigint language sql as $$"
        " insert into approvals (sequence, model_version, digest, approver, reason)"
        " select coalesce(max(sequence), 0) + 1, 1, repeat('f', 64), 'nobody', 'forged'"
        " from approvals; select 7::bigint $$"
    ),
    "function format(text,name)": (
        "create function format(text, name) returns text language sql as 'select $1'"
    ),
    "operator =(name,character varying)": (
        "create function same(name, varchar) returns boolean language sql as 'select true';"
        "create operator = (leftarg = name, rightarg = varchar, function = same)"
    ),
    "type boolean_": "create domain boolean_ as integer",
    "relation of_mine": "create view of_mine as select 1 as x",
    "rule mine on streams": "create rule mine as on insert to streams do also notify mine",
    "trigger mine on streams": (
        "create trigger mine before update on streams for each row"
        " execute function suppress_redundant_updates_trigger()"
    ),
    "policy mine on streams": "create policy mine on streams using (true)",
    "row security on streams": "alter table streams force row level security",
    # Functions of pg_catalog run any statement, too; one in pg_temp lives as long as its session.
    "default started_at of batch_attempts": (
        "create function pg_temp.mine() returns timestamptz language sql as 'select now()';"
        "alter table batch_attempts alter started_at set default pg_temp.mine()"
    ),
    "default rows of publish_log": (
        "alter table publish_log alter rows set default"
        " length(query_to_xml('select 1', true, true, '')::text)"
    ),
    "generated column mine of streams": (
        "alter table streams add mine text generated always as (upper(topic)) stored"
    ),
    "column ours of streams": (
        "create domain pg_temp.domain_ as integer; alter table streams add ours pg_temp.domain_"
    ),
    "constraint mine on batch_attempts": (
        "alter table batch_attempts add constraint mine"
        " check (query_to_xml('select 1', true, true, '') is not null)"
    ),
    "constraint mine on current_publish": (
        "alter table current_publish add constraint mine exclude (attempt with =)"
    ),
    "constraint other on streams": (
        "alter table streams add constraint other foreign key (topic) references streams (topic)"
    ),
    "index mine": "create index mine on streams (upper(topic))",
    "index where_": "create index where_ on streams (topic) where upper(topic) <> 'X'",
    "statistics mine on streams": "create statistics mine on upper(topic), topic from streams",
    "partition key of split": "create table split (x int) partition by list ((x + 1))",
    "child heir of streams": "create table heir () inherits (streams)",
}
"""What the scorer could put into everybody's search path, and on its tables."""


@pytest.mark.parametrize("first", range(0, len(PLANTED), 5))
def test_what_the_scorer_has_planted_is_named_and_stops_the_migration(
    warehouse_settings, name, tmp_path, first
):
    planted = dict(list(PLANTED.items())[first : first + 5])
    upgrade(warehouse_settings, name, of_release(tmp_path, "0002"))
    house = House(warehouse_settings, name)
    scorer = house.connect()
    if FORGERY in planted:
        # The control: with that release it beat the built-in, and `lockstep approve` called it.
        scorer.execute(planted[FORGERY])
        with house.connect("releaser") as releaser:
            assert releaser.execute("select hashtextextended('x', 0)").fetchone() == (7,)
            forged = releaser.execute("select sequence, approver, reason from approvals")
            assert forged.fetchall() == [(1, "nobody", "forged")]
    for what, statement in planted.items():
        if what != FORGERY:
            scorer.execute(statement)
    with pytest.raises(UsageError, match="holds what no migration made") as refused:
        upgrade(warehouse_settings, name)
    told = str(refused.value).replace(f"{name}.", "")
    assert [what for what in planted if what not in told] == []
    assert "nobody but its owner can create" in told
    assert " more" not in told  # nothing that the release itself had made
    with pytest.raises(InsufficientPrivilege):
        scorer.execute("create function one_more() returns int language sql as 'select 1'")


def test_a_rule_that_is_being_made_while_the_migration_begins_stops_it(
    warehouse_settings, name, tmp_path
):
    upgrade(warehouse_settings, name, of_release(tmp_path, "0002"))
    house = House(warehouse_settings, name)
    scorer, owner = house.connect(), house.connect("owner")
    scorer.execute("begin")
    # Reads the table, has written nothing yet: whoever looks now finds no rule.
    scorer.execute("lock table streams in access share mode")
    with ThreadPoolExecutor(1) as pool:
        migration = pool.submit(upgrade, warehouse_settings, name)
        until(
            lambda: (
                migration.done()
                or owner.execute(
                    "select count(*) from pg_locks where not granted and relation = %s::regclass",
                    ("streams",),
                ).fetchone()
                == (1,)
            ),
            "the migration waits for the table",
        )
        scorer.execute("create rule mine as on insert to streams do also notify mine")
        scorer.execute("commit")
        with pytest.raises(UsageError, match="rule mine on streams"):
            migration.result()


def test_a_function_that_is_being_made_while_the_migration_begins_stops_it(
    warehouse_settings, name, tmp_path, monkeypatch
):
    upgrade(warehouse_settings, name, of_release(tmp_path, "0002"))
    house = House(warehouse_settings, name)
    scorer = house.connect()
    scorer.execute("begin")
    scorer.execute("create function format(text, name) returns text language sql as 'select $1'")
    with monkeypatch.context() as patched:
        patched.setattr("lockstep.warehouse.migrate._PATIENCE", 0.2)
        with pytest.raises(Transient, match="may have created something") as told:
            upgrade(warehouse_settings, name)
    assert f"server process {scorer.info.backend_pid}, user lockstep_scorer" in str(told.value)
    scorer.execute("commit")
    with pytest.raises(UsageError, match="function"):
        upgrade(warehouse_settings, name)
