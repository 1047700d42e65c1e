"""Roles that hold: the owner keeps every table, and what a role may do it does through functions.

Runs as USE_CASE_owner. Until now the scorer owned what it wrote, since attaching a partition
needs ownership, and an owner can grant itself everything back. Now no role but the owner owns or
creates anything: days, stages, seals and publishes are made by the owner's functions, which check
what they are asked for. The functions look names up in pg_catalog and here, where nobody else
creates; a refusal is raised with SQLSTATE LS001 or LS002, what is left behind as its detail and
what to type next as its hint (lockstep/warehouse/connect.py reads them).
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"

FUNCTIONS = Path(__file__).parents[1] / "sql"

# What the scorer owned becomes the owner's, without any right that the scorer has given away.
OWNERSHIP = """
REVOKE CREATE ON SCHEMA {schema} FROM {scorer}, {releaser}, {analyst}, PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

DO $do$
DECLARE
    relation record;
    grantee text;
BEGIN
    FOR relation IN
        SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relacl FROM pg_class c
        WHERE c.relnamespace = '{schema}'::regnamespace AND c.relowner = '{scorer}'::regrole
          AND (c.relkind IN ('r', 'p') OR c.relkind = 'S' AND NOT EXISTS (
              SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i')))
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO {owner}',
            CASE relation.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relation.name);
        FOR grantee IN
            SELECT DISTINCT coalesce(quote_ident(r.rolname), 'PUBLIC')
            FROM (
                SELECT c.relacl AS acl FROM pg_class c WHERE c.oid = relation.oid
                UNION ALL
                SELECT a.attacl FROM pg_attribute a WHERE a.attrelid = relation.oid
            ) s
            CROSS JOIN aclexplode(s.acl) e
            LEFT JOIN pg_roles r ON r.oid = e.grantee
            WHERE e.grantee <> '{owner}'::regrole
        LOOP
            EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE',
                CASE relation.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                relation.name, grantee);
        END LOOP;
    END LOOP;
END
$do$;
"""

APPROVALS = """
-- What stood here was what somebody typed. Who approves is said by the database.
ALTER TABLE approvals RENAME approver TO given_name;
ALTER TABLE approvals ALTER given_name DROP NOT NULL;
ALTER TABLE approvals ADD COLUMN approver text;
ALTER TABLE approvals ADD CONSTRAINT approvals_reason CHECK (reason ~ '[^[:space:]]');

CREATE OR REPLACE FUNCTION approvals_guard() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, {schema}, pg_temp AS $guard$
DECLARE
    newest integer;
    certificate jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'approvals are append-only: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT coalesce(max(a.sequence), 0) INTO newest FROM {schema}.approvals a;
    IF NEW.sequence IS DISTINCT FROM newest + 1 THEN
        RAISE EXCEPTION 'approval % does not follow %', NEW.sequence, newest
            USING ERRCODE = 'unique_violation';
    END IF;
    certificate := NEW.evidence -> 'certificate';
    IF certificate ->> 'digest' IS DISTINCT FROM NEW.digest
       OR certificate -> 'passed' IS DISTINCT FROM 'true'::jsonb
       OR (certificate -> 'rows' > '0'::jsonb
           AND jsonb_typeof(certificate -> 'rows') = 'number') IS NOT TRUE THEN
        RAISE EXCEPTION 'approval % carries no certificate of % that passed',
            NEW.sequence, left(NEW.digest, 12)
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.approver := session_user;
    NEW.approved_at := clock_timestamp();
    RETURN NEW;
END
$guard$;
"""

DAYS = """
CREATE FUNCTION is_partition(parent text, child text) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
    SELECT EXISTS (
        SELECT FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relname = child
        JOIN pg_class p ON p.oid = i.inhparent AND p.relname = parent
        WHERE p.relnamespace = '{schema}'::regnamespace AND c.relnamespace = p.relnamespace
          AND NOT i.inhdetachpending)
$f$;

CREATE FUNCTION day_table(parent text, day date) RETURNS text LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
    SELECT parent || '_' || to_char(day, 'YYYYMMDD')
$f$;

-- A table that is made alone and then attached takes a lock that readers do not notice.
CREATE FUNCTION make_day(parent text, day date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
DECLARE
    name text := day_table(parent, day);
BEGIN
    IF (parent IN ('predictions_batch', 'predictions_stream')
        AND day BETWEEN DATE '0001-01-01' AND DATE '9999-12-31') IS NOT TRUE THEN
        RAISE EXCEPTION 'no table % is kept by day, or none can hold the day %', parent, day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF is_partition(parent, name) THEN
        RETURN false;
    END IF;
    -- Two that find it missing: the second waits here, then finds it. Attaching takes this lock
    -- anyway, and no role but the owner can.
    EXECUTE format('LOCK TABLE ONLY {schema}.%I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF is_partition(parent, name) THEN
        RETURN false;
    END IF;
    -- No check constraint is needed to attach it at once: it is empty.
    EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING ALL) %s', name, parent,
        CASE parent WHEN 'predictions_batch' THEN 'PARTITION BY LIST (publish_id)' ELSE '' END);
    EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I'
        ' FOR VALUES FROM (%L) TO (%L)', parent, name,
        to_char(day, 'YYYY-MM-DD'), to_char(day + 1, 'YYYY-MM-DD'));
    RETURN true;
END
$f$;
"""

# All that the roles may do here; docs/roles.md says it in words. Never a number that the database
# draws, nor a moment: those are its word. By columns also because a right to a whole table is a
# right to lock it.
RIGHTS = """
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {scorer}, {releaser}, {analyst};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC, {scorer}, {releaser}, {analyst};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC, {scorer}, {releaser}, {analyst};

GRANT SELECT ON predictions, latest_predictions, changed_days, window_audits
    TO {scorer}, {releaser}, {analyst};
GRANT SELECT ON approvals TO {scorer}, {releaser};
GRANT INSERT (sequence, model_version, digest, given_name, reason, evidence) ON approvals
    TO {releaser};

GRANT SELECT ON predictions_batch, current_publish, publish_log, batch_attempts, streams,
    stream_offsets, predictions_stream, stream_batches, landings, landing_rejects, audits,
    audit_windows TO {scorer};
GRANT INSERT (topic, topic_uuid), UPDATE (topic_uuid) ON streams TO {scorer};
GRANT INSERT (stream_id, kafka_partition, next_offset, epoch, produced_offset),
    UPDATE (next_offset, epoch, produced_offset) ON stream_offsets TO {scorer};
GRANT INSERT (event_date, stream_id, event_id, event_time, entity, score, margin, window_values,
    approval, kafka_partition, kafka_offset, incomplete) ON predictions_stream TO {scorer};
GRANT INSERT (stream_id, kafka_partition, first_offset, epoch, next_offset, approval, cut,
    incomplete) ON stream_batches TO {scorer};
GRANT INSERT (run_id, topic, source, event_date, rows, late, offsets) ON landings TO {scorer};
GRANT INSERT (run_id, topic, source, reason, rows, example) ON landing_rejects TO {scorer};
GRANT INSERT (run_id, event_date, topic, rows, equal, incomplete, unexplained, missing,
    late_events, late_changed, examples) ON audits TO {scorer};
GRANT INSERT ON audit_windows TO {scorer};
GRANT EXECUTE ON FUNCTION make_day(text, date),
    begin_attempt(date, text, text, integer, integer, text, bigint, text), finish_attempt(bigint),
    clear_leftovers(interval), place_publish(bigint), tell_readers(), switch_publish(bigint)
    TO {scorer};

-- What was being staged when this came may go on: a new job calls the functions.
DO $do$
DECLARE
    stage text;
BEGIN
    FOR stage IN SELECT b.stage_table FROM batch_attempts b WHERE b.stage_table IS NOT NULL LOOP
        EXECUTE format('GRANT SELECT ON {schema}.%I TO {scorer}', stage);
    END LOOP;
END
$do$;
"""


def upgrade() -> None:
    use_case = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    names = {"schema": f'"{use_case}"'}
    names |= {role: f'"{use_case}_{role}"' for role in ("owner", "scorer", "releaser", "analyst")}
    attempts, publish = (
        (FUNCTIONS / name).read_text(encoding="utf-8")
        for name in ("0003_attempts.sql", "0003_publish.sql")
    )
    for statements in (OWNERSHIP, APPROVALS, DAYS, attempts, publish, RIGHTS):
        for name, quoted in names.items():
            statements = statements.replace("{" + name + "}", quoted)
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    raise NotImplementedError("it would give the scorer back what published rows are safe from")
