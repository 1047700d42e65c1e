"""What each role may do in a use case's schema: the cells of docs/roles.md, each with its tries.

A cell is kept when every statement of its row does, as that role, what the table says: `yes`, it
runs; `no`, the database refuses it for want of a right; `own`, it runs and touches nothing but the
session's own. Statements run alone, each in a transaction that is rolled back. In them, {uc} is
the use case and {other} another one; {day} and {held} are the tables of a published day and of
its publish, {stage} is one that is sealed and {open} one that is being filled, for the publish
{open_id}; {sealed} and {filling} are the numbers of their attempts; {approve} inserts an approval
that may be; {login} is the role's login, {another} another role, and {victim} the server process
of the owner's session.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EVERYTHING", "ROLES", "ROWS", "VIEWS", "Row", "as_markdown"]

ROLES = ("scorer", "releaser", "analyst")


@dataclass(frozen=True)
class Row:
    """One thing that somebody may want to do."""

    what: str
    cells: tuple[str, str, str]
    """yes, no or own: of the scorer, the releaser and the analyst."""
    tries: tuple[str, ...]


ALL, NONE = ("yes", "yes", "yes"), ("no", "no", "no")
SCORER, RELEASER = ("yes", "no", "no"), ("no", "yes", "no")
OWN = ("own", "own", "own")


def _each(statement: str, names: str) -> tuple[str, ...]:
    return tuple(statement.replace("#", name) for name in names.split())


TABLES = (
    "predictions_batch current_publish publish_log batch_attempts streams stream_offsets"
    " predictions_stream stream_batches landings landing_rejects audits audit_windows"
    " publish_conflicts"
)
PUBLISHED = "predictions_batch {day} {held} {stage} current_publish publish_log batch_attempts"
LIVE = "predictions_stream predictions_stream_20131001"
KEPT = "stream_batches landings landing_rejects audits audit_windows publish_conflicts"
EVERYTHING = f"{PUBLISHED} {LIVE} {KEPT} approvals streams stream_offsets schema_version"
VIEWS = "predictions latest_predictions changed_days window_audits conflicting_copies"

ROWS: dict[str, list[Row]] = {
    "Reading": [
        Row("read the views", ALL, _each("select * from #", VIEWS)),
        Row("read the approvals", ("yes", "yes", "no"), ("select * from approvals",)),
        Row("read the tables below the views", SCORER, _each("select * from #", TABLES)),
        Row("read the stage of an attempt", SCORER, _each("select * from #", "{stage} {open}")),
        Row("read the rows of another use case", NONE, ("select * from {other}.predictions",)),
    ],
    "Approvals": [
        Row(
            "append an approval with a certificate that passed",
            RELEASER,
            ("{approve}",),
        ),
        Row(
            "name another login than its own as the approver, or another moment",
            NONE,
            (
                "insert into approvals (sequence, model_version, digest, reason, approver)"
                " values (2, 1, repeat('a', 64), 'why', 'somebody')",
                "insert into approvals (sequence, model_version, digest, reason, approved_at)"
                " values (2, 1, repeat('a', 64), 'why', '2001-01-01')",
            ),
        ),
        Row(
            "change, delete, empty, drop or disarm approvals",
            NONE,
            (
                "update approvals set reason = 'another'",
                "delete from approvals",
                "truncate approvals",
                "drop table approvals",
                "alter table approvals disable trigger all",
                "alter table approvals alter digest drop not null",
                "drop trigger approvals_append on approvals",
                "create or replace function approvals_guard() returns trigger language plpgsql"
                " as 'begin return new; end'",
                "select approvals_guard()",
                "copy approvals (sequence) from program 'echo 7'",
                "select * from approvals for update",
            ),
        ),
    ],
    "Published days": [
        Row(
            "begin an attempt, fill its stage, seal it",
            SCORER,
            (
                "select begin_attempt('2013-10-05', repeat('0f', 16), repeat('a', 64), 1, 1, 'i',"
                " 1, 'r')",
                "insert into {open} select '2013-10-01', '{open_id}', 'e', now(), null, 0.5",
                "select finish_attempt({filling})",
                "select clear_leftovers('7 days')",
            ),
        ),
        Row(
            "publish an attempt that is sealed and approved",
            SCORER,
            ("select place_publish({sealed})", "select tell_readers()"),
        ),
        Row(
            "add, change or delete rows of a sealed stage or a published day",
            NONE,
            (
                *_each("insert into # select * from {open}", "predictions_batch {day} {held}"),
                "insert into {stage} select * from {stage}",
                *_each("update # set score = 0", "predictions_batch {day} {held} {stage} {open}"),
                *_each("delete from #", "predictions_batch {day} {held} {stage} {open}"),
                *_each("copy # from program 'true'", "predictions_batch {held}"),
                "merge into predictions_batch p using {stage} s on true"
                " when matched then update set score = 0",
            ),
        ),
        Row(
            "write what is current, the publish log or an attempt by hand",
            NONE,
            (
                *_each("delete from #", "current_publish publish_log batch_attempts"),
                *_each("insert into # select * from #", "current_publish publish_log"),
                "insert into batch_attempts select * from batch_attempts",
                "update current_publish set attempt = 1",
                "update publish_log set checksum = ''",
                "update batch_attempts set state = 'staged', checksum = ''",
            ),
        ),
        Row(
            "attach, detach, move or rename a partition",
            NONE,
            (
                "alter table {day} detach partition {held}",
                "alter table predictions_batch detach partition {day}",
                "alter table {day} attach partition {stage} for values in ('x')",
                "alter table {held} rename to mine",
                "alter table {held} set schema pg_temp",
                "alter table {held} no inherit {day}",
                "create table mine partition of predictions_stream default",
                "create temp table mine (like {held});"
                " alter table {day} attach partition mine for values in ('x')",
            ),
        ),
        Row(
            "call the steps inside those functions",
            NONE,
            (
                "select take_attempt({sealed})",
                "select close_attempt(a, 'published') from (select null::batch_attempts a) s",
                "select summary('approvals'::regclass)",
                "select publish_partition('2013-10-01', 'x')",
                "select what_readers_see('2013-10-01')",
                "select is_partition('a', 'b')",
            ),
        ),
    ],
    "The stream": [
        Row(
            "add predictions, cuts, landings, rejects and audits",
            SCORER,
            (
                "insert into predictions_stream (event_date, stream_id, event_id, event_time,"
                " score, approval, kafka_partition, kafka_offset)"
                " values ('2013-10-01', 1, 'x', now(), 0.5, 1, 0, 7)",
                "insert into stream_batches (stream_id, kafka_partition, first_offset, epoch,"
                " next_offset, approval, cut) values (1, 0, 0, 1, 1, 1, '{}')",
                "insert into landings (run_id, topic, source, event_date, rows, fresh, fresh_late)"
                " values ('r', 't', 's', '2013-10-01', 1, 1, 0)",
                "insert into landing_rejects (run_id, topic, source, reason, rows)"
                " values ('r', 't', 's', 'why', 1)",
                "insert into audits (run_id, event_date, topic, rows, equal, incomplete,"
                " unexplained, late_events, late_changed)"
                " values ('r', '2013-10-01', 't', 1, 1, 0, 0, 0, 0)",
                "insert into publish_conflicts (event_date, publish_id, event_id, event_time,"
                " copies, fields) values ('2013-10-01', 'p', 'x', now(), '[]', '{}')",
            ),
        ),
        Row(
            "register a topic, take a partition over, advance offsets",
            SCORER,
            (
                "insert into streams (topic, topic_uuid) values ('another', 'u')",
                "update streams set topic_uuid = 'v'",
                "select * from streams for update",
                "update stream_offsets set epoch = epoch + 1",
                "insert into stream_offsets (stream_id, kafka_partition, next_offset)"
                " values (1, 9, 0)",
                "select make_day('predictions_stream', '2013-10-07')",
            ),
        ),
        Row(
            "change or delete what was added",
            NONE,
            (
                *_each("update # set score = 0", LIVE),
                *_each("delete from #", f"{LIVE} {KEPT} streams stream_offsets"),
                *_each("update # set run_id = 'x'", "landings landing_rejects audits"),
                "update stream_batches set cut = '{}'",
                "update audit_windows set equal = 0",
                "update publish_conflicts set fields = '{}'",
                "insert into predictions_stream_20131001 select * from predictions_stream",
                "update streams set topic = 'renamed'",
                "insert into predictions_stream as p (event_date, stream_id, event_id, event_time,"
                " score, approval, kafka_partition, kafka_offset)"
                " values ('2013-10-01', 1, 'x', now(), 0.5, 1, 0, 7)"
                " on conflict (event_date, stream_id, event_id, event_time)"
                " do update set score = 0",
            ),
        ),
        Row(
            "write a moment or a number that the database gives",
            NONE,
            (
                "insert into predictions_stream (scored_at) values ('2001-01-01')",
                "insert into stream_batches (committed_at) values ('2001-01-01')",
                "insert into landings (landed_at) values ('2001-01-01')",
                "insert into landing_rejects (landed_at) values ('2001-01-01')",
                "insert into audits (audited_at) values ('2001-01-01')",
                "insert into streams (stream_id) overriding system value values (7)",
                "insert into landings (landing_id) overriding system value values (7)",
                "insert into audits (audit_id) overriding system value values (7)",
                "select nextval('attempt_numbers')",
                "select setval('attempt_numbers', 9)",
                "select nextval('streams_stream_id_seq')",
                "select setval('streams_stream_id_seq', 32767)",
                "alter sequence attempt_numbers restart",
            ),
        ),
    ],
    "Detours": [
        Row(
            "create anything in the schema, or a schema",
            NONE,
            (
                "create table {uc}.mine (x int)",
                "create view {uc}.mine as select 1 as x",
                "create materialized view {uc}.mine as select 1 as x",
                "create function {uc}.hashtextextended(text, integer) returns bigint language sql"
                " as 'select 7::bigint'",
                "create function {uc}.format(text, name) returns text language sql as 'select $1'",
                "create procedure {uc}.mine() language sql as 'select 1'",
                "create aggregate {uc}.mine(int) (sfunc = int4pl, stype = int)",
                "create operator {uc}.= (leftarg = name, rightarg = varchar, function = texteq)",
                "create type {uc}.mine as enum ('a')",
                "create domain {uc}.mine as int",
                "create sequence {uc}.mine",
                'create collation {uc}.mine from "C"',
                "create statistics {uc}.mine on topic, topic_uuid from streams",
                "create schema mine",
                "create cast (text as date) with inout as implicit",
                "create language mine handler plpgsql_call_handler",
                "create event trigger mine on ddl_command_start execute function now()",
                "create publication mine for all tables",
                "create foreign data wrapper mine",
                "alter schema {uc} rename to mine",
                "alter schema {uc} owner to {uc}_{role}",
                "drop schema {uc} cascade",
            ),
        ),
        Row("create anything in another use case's schema", NONE, ("create table {other}.m ()",)),
        Row(
            "drop, empty, alter or own a table",
            NONE,
            (
                *_each("drop table # cascade", EVERYTHING),
                *_each("truncate # cascade", EVERYTHING),
                *_each("alter table # owner to {uc}_{role}", EVERYTHING),
                *_each("alter table # add column mine int", EVERYTHING),
                *_each("alter table # enable row level security", EVERYTHING),
                *_each("alter table # disable trigger all", EVERYTHING),
                *_each("create rule mine as on insert to # do instead nothing", EVERYTHING),
                *_each("create policy mine on # using (true)", EVERYTHING),
                *_each("create index on # ((1))", EVERYTHING),
                *_each(
                    "create trigger mine before insert on # for each row"
                    " execute function suppress_redundant_updates_trigger()",
                    EVERYTHING,
                ),
                *_each("cluster #", "publish_log"),
                "reindex table publish_log",
                *_each("comment on table # is 'mine'", EVERYTHING),
                *_each("drop view #", VIEWS),
                "create or replace view {uc}.predictions as select 1 as x",
            ),
        ),
        Row(
            "drop, replace, re-own or open a function",
            NONE,
            (
                "drop function switch_publish(bigint)",
                "alter function switch_publish(bigint) security invoker",
                "alter function switch_publish(bigint) reset search_path",
                "alter function switch_publish(bigint) owner to {uc}_{role}",
                "create or replace function {uc}.switch_publish(number bigint) returns text"
                " language sql as 'select null::text'",
            ),
        ),
        Row(
            "give a right to itself or to others",
            NONE,
            (
                *_each("grant update on # to {uc}_{role}", EVERYTHING),
                *_each("grant all on # to public", EVERYTHING),
                "grant create on schema {uc} to {uc}_{role}",
                "grant execute on function switch_publish(bigint) to {uc}_{role}",
                "grant create on database {database} to {uc}_{role}",
                "grant {uc}_owner to {login}",
                "grant {uc}_owner to {uc}_{role}",
                "alter default privileges for role {uc}_owner grant all on tables to {uc}_{role}",
            ),
        ),
        Row(
            "take the same role of another use case, where its login is a member of that too",
            ALL,
            ("set role {other}_{role}",),
        ),
        Row(
            "take another role",
            NONE,
            (
                "set role {uc}_owner",
                "set role {uc}_{another}",
                "set session authorization {uc}_owner",
                "set session authorization lockstep_owner",
                "alter role {uc}_{role} createrole",
                "create role mine",
                "reassign owned by {uc}_owner to {uc}_{role}",
                "drop owned by {uc}_owner",
                "set session_replication_role = replica",
            ),
        ),
        Row(
            "lock a table against others",
            NONE,
            (
                *_each("lock table # in share mode", EVERYTHING),
                *_each("lock table # in access exclusive mode", EVERYTHING),
                "lock table predictions in exclusive mode",
                "lock table only predictions_batch in share update exclusive mode",
            ),
        ),
        Row(
            "read or write files, or run programs, on the server",
            NONE,
            (
                "select lo_import('/etc/passwd')",
                "select lo_export(1, '/tmp/mine')",
                "select pg_read_file('PG_VERSION')",
                "copy (select 1) to '/tmp/mine'",
                "copy (select 1) to program 'true'",
                "load 'dblink'",
            ),
        ),
        Row(
            "end or interrupt another role's session",
            NONE,
            ("select pg_terminate_backend({victim})", "select pg_cancel_backend({victim})"),
        ),
        Row(
            "make temporary tables; they come last where names are looked up",
            ("own", "no", "no"),
            ("create temporary table approvals (digest text)",),
        ),
        Row(
            "take an advisory lock; only a migration waits for one, for a minute, and names who"
            " holds it",
            OWN,
            ("select pg_advisory_xact_lock(1)", "select pg_advisory_xact_lock_shared(2)"),
        ),
        Row(
            "make large objects of their own, prepare, listen and notify",
            OWN,
            ("select lo_create(0)", "prepare mine as select 1", "listen mine", "notify mine"),
        ),
    ],
}


def as_markdown() -> str:
    """The tables of docs/roles.md."""
    parts = []
    for title, rows in ROWS.items():
        parts += [f"## {title}", "", "| | scorer | releaser | analyst |", "|---|---|---|---|"]
        parts += [f"| {row.what} | {' | '.join(row.cells)} |" for row in rows]
        parts.append("")
    return "\n".join(parts)
