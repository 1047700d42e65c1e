"""Roles that hold: the owner keeps every table, and what a role may do it does through functions.

Runs as USE_CASE_owner. Until now the scorer owned what it wrote, since attaching a partition
needs ownership, and an owner can grant itself everything back. Now no role but the owner owns or
creates anything: days, stages, seals and publishes are made by the owner's functions, which check
what they are asked for. The functions look names up in pg_catalog and here, where nobody else
creates; a refusal is raised with SQLSTATE LS001 or LS002, what is left behind as its detail and
what to type next as its hint (lockstep/warehouse/connect.py reads them).
"""

from alembic import op

revision = "0003"
down_revision = "0002"

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

ATTEMPTS = """
-- The server process of the job that stages it: while that lives, somebody is at work.
ALTER TABLE batch_attempts ADD COLUMN session_pid integer;

-- The partition that holds a publish of a day; NULL when there is none.
CREATE FUNCTION publish_partition(day date, id text) RETURNS regclass LANGUAGE sql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
    SELECT c.oid::regclass FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relname = day_table('predictions_batch', day)
      AND p.relnamespace = '{schema}'::regnamespace AND NOT i.inhdetachpending
      AND pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (%L)', id)
$f$;

-- Rows have no order and a table's pages differ from run to run, so the checksum is a sum over
-- rows. record_send is Postgres's own unambiguous binary form of a row: lengths, nulls and the
-- bits of every float, -0.0 and NaN included.
CREATE FUNCTION summary(held regclass, OUT rows bigint, OUT checksum text) LANGUAGE plpgsql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
BEGIN
    EXECUTE format($q$
        SELECT count(*), coalesce(sum(('x' || encode(substr(sha256(record_send(
            ROW(event_id, event_time, entity, score, margin, window_values))), 1, 8), 'hex')
        )::bit(64)::bigint::numeric), 0)::text FROM %s $q$, held) INTO rows, checksum;
END
$f$;

CREATE FUNCTION begin_attempt(
    day date, id text, digest text, model_version integer, approval integer,
    input_fingerprint text, input_rows bigint, run_id text
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
DECLARE
    number bigint;
    stage text;
    held record;
BEGIN
    IF (id ~ '^[0-9a-f]{32}$' AND digest ~ '^[0-9a-f]{64}$' AND input_rows >= 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'an attempt needs a publish_id of 32 hex digits, a digest of 64, and rows'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The publish_id stands for a digest and an input: rows of others do not come back under it.
    IF EXISTS (
        SELECT FROM publish_log l WHERE l.event_date = day AND l.publish_id = id
          AND (l.digest <> begin_attempt.digest
               OR l.input_fingerprint <> begin_attempt.input_fingerprint)) THEN
        RAISE EXCEPTION 'publish % of % was made with another digest or input than digest %',
            left(id, 12), day, left(digest, 12)
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(day),
            HINT = 'run the day again: its publish_id is made of the digest and the input';
    END IF;
    PERFORM make_day('predictions_batch', day);
    number := nextval('{schema}.attempt_numbers');
    -- Published before, and still here: its rows need no scoring.
    SELECT l.rows, l.checksum INTO held FROM publish_log l
    WHERE l.event_date = day AND l.publish_id = id AND publish_partition(day, id) IS NOT NULL
    ORDER BY l.attempt LIMIT 1;
    IF NOT FOUND THEN
        stage := 'stage_' || number;
        -- The key and the checks are those of the place where it will be attached: Postgres then
        -- believes them and attaches without reading a row.
        EXECUTE format('CREATE TABLE {schema}.%1$I ('
            'LIKE {schema}.predictions_batch INCLUDING DEFAULTS INCLUDING STORAGE,'
            ' PRIMARY KEY (event_date, publish_id, event_id, event_time),'
            ' CONSTRAINT staged_day CHECK (event_date >= DATE %2$L AND event_date < DATE %2$L + 1),'
            ' CONSTRAINT staged_publish CHECK (publish_id = %3$L))',
            stage, to_char(day, 'YYYY-MM-DD'), id);
        EXECUTE format('GRANT SELECT, INSERT ON {schema}.%I TO {scorer}', stage);
    END IF;
    INSERT INTO batch_attempts (attempt, event_date, publish_id, digest, model_version, approval,
        input_fingerprint, input_rows, run_id, stage_table, session_pid, staged_rows, checksum,
        state, finished_at)
    VALUES (number, day, id, digest, model_version, approval, input_fingerprint, input_rows, run_id,
        stage, pg_backend_pid(), held.rows, held.checksum,
        CASE WHEN stage IS NULL THEN 'staged' ELSE 'staging' END,
        CASE WHEN stage IS NULL THEN now() END);
    RETURN number;
END
$f$;

CREATE FUNCTION finish_attempt(number bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
DECLARE
    a batch_attempts;
    found_rows bigint;
    found_checksum text;
BEGIN
    SELECT b.* INTO a FROM batch_attempts b WHERE b.attempt = number FOR UPDATE;
    IF a.state IS DISTINCT FROM 'staging' THEN
        RAISE EXCEPTION 'attempt % at % was given up by a later one', number, a.event_date
            USING ERRCODE = 'LS002', DETAIL = 'nothing of this attempt',
            HINT = 'let the newest attempt at this day finish, or run the day again';
    END IF;
    -- Waits for a task that is still writing, and keeps a late one out: what is counted here is
    -- what will be published. A task that outlived its job (a zombie) fails from now on.
    EXECUTE format('LOCK TABLE {schema}.%I IN SHARE ROW EXCLUSIVE MODE', a.stage_table);
    EXECUTE format('REVOKE INSERT ON {schema}.%I FROM {scorer}', a.stage_table);
    SELECT s.rows, s.checksum INTO found_rows, found_checksum
    FROM summary(format('{schema}.%I', a.stage_table)::regclass) s;
    IF found_rows <> a.input_rows THEN
        RAISE EXCEPTION 'attempt % staged % rows for %, its input has %',
            number, found_rows, a.event_date, a.input_rows
            USING ERRCODE = 'LS001', HINT = 'run the day again',
            DETAIL = format('the table %s, until a later attempt clears it', a.stage_table);
    END IF;
    EXECUTE format('ANALYZE {schema}.%I', a.stage_table);
    UPDATE batch_attempts b SET state = 'staged', staged_rows = found_rows,
        checksum = found_checksum, finished_at = now() WHERE b.attempt = number;
END
$f$;

-- Drops the stage tables of dead attempts. staging: its session is gone. staged: too old, or
-- useless, as a higher attempt at the day was published or a retry of its run staged it again.
CREATE FUNCTION clear_leftovers(keep interval) RETURNS SETOF bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET lock_timeout = '500ms' AS $f$
DECLARE
    a record;
BEGIN
    FOR a IN
        SELECT b.attempt, b.stage_table, b.state FROM batch_attempts b
        WHERE b.stage_table IS NOT NULL AND CASE b.state
            WHEN 'staging' THEN NOT EXISTS (
                SELECT FROM pg_stat_activity s
                WHERE s.pid = b.session_pid AND s.datname = current_database())
            WHEN 'staged' THEN b.finished_at < now() - keep OR EXISTS (
                SELECT FROM batch_attempts h
                WHERE h.event_date = b.event_date AND h.attempt > b.attempt
                  AND (h.state IN ('published', 'unchanged')
                       OR h.state = 'staged' AND h.run_id = b.run_id))
            END
        ORDER BY b.attempt
    LOOP
        BEGIN
            -- A publish of this very attempt holds its row: then it is not dead, or not for us.
            PERFORM FROM batch_attempts b WHERE b.attempt = a.attempt AND b.state = a.state
                FOR UPDATE SKIP LOCKED;
            IF FOUND THEN
                EXECUTE format('DROP TABLE IF EXISTS {schema}.%I', a.stage_table);
                UPDATE batch_attempts b SET state = 'abandoned', stage_table = NULL,
                    finished_at = coalesce(b.finished_at, now()) WHERE b.attempt = a.attempt;
                RETURN NEXT a.attempt;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            NULL; -- somebody is reading it: the next time
        END;
    END LOOP;
END
$f$;
"""

PUBLISH = """
CREATE FUNCTION what_readers_see(day date) RETURNS text LANGUAGE sql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
    SELECT coalesce(
        (SELECT format('the day as it was: publish %s with %s rows', left(l.publish_id, 12), l.rows)
         FROM current_publish c JOIN publish_log l ON l.attempt = c.attempt
         WHERE c.event_date = day),
        'the day unpublished, as it was')
$f$;

CREATE FUNCTION is_current(a batch_attempts) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
    SELECT EXISTS (SELECT FROM current_publish c
                   WHERE c.event_date = a.event_date AND c.publish_id = a.publish_id)
$f$;

-- What both halves of a publish begin with. Its locks last until the transaction ends.
CREATE FUNCTION take_attempt(number bigint) RETURNS batch_attempts LANGUAGE plpgsql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
DECLARE
    a batch_attempts;
    newest approvals;
    higher bigint;
BEGIN
    -- Under an older snapshot an approval that was taken back would still look like the newest.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a publish runs in READ COMMITTED, this transaction is in %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    SELECT b.* INTO a FROM batch_attempts b WHERE b.attempt = number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no attempt %', number USING ERRCODE = 'LS001';
    END IF;
    -- 1. No approval while this runs (an insert waits for it; publishes share it), and one publish
    -- of the day at a time. No role but the owner can take either lock.
    LOCK TABLE ONLY approvals IN SHARE MODE;
    EXECUTE format('LOCK TABLE ONLY {schema}.%I IN SHARE UPDATE EXCLUSIVE MODE',
        day_table('predictions_batch', a.event_date));
    -- 2. The attempt as it is now: staged, not given up.
    SELECT b.* INTO a FROM batch_attempts b WHERE b.attempt = number FOR UPDATE;
    IF a.state IN ('published', 'unchanged') AND is_current(a) THEN
        RETURN a;
    END IF;
    IF a.state IN ('staging', 'abandoned') THEN
        RAISE EXCEPTION 'attempt % at % cannot be published: it is %', number, a.event_date, a.state
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = 'run the day again';
    END IF;
    -- 3. The approval again: it names the attempt's digest and version, as the newest does.
    SELECT n.* INTO newest FROM approvals n ORDER BY n.sequence DESC LIMIT 1;
    IF newest.digest IS DISTINCT FROM a.digest THEN
        RAISE EXCEPTION 'attempt % at % was scored with version % (digest %), but %',
            number, a.event_date, a.model_version, left(a.digest, 12),
            CASE WHEN newest.sequence IS NULL THEN 'nothing is approved'
            ELSE format('approval %s names version %s (digest %s)',
                newest.sequence, newest.model_version, left(newest.digest, 12)) END
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = 'run the day again: it takes the approved model';
    END IF;
    IF NOT EXISTS (
        SELECT FROM approvals n WHERE n.sequence = a.approval AND n.digest = a.digest
          AND n.model_version = a.model_version) THEN
        RAISE EXCEPTION 'attempt % at %: approval % does not name version % (digest %)',
            number, a.event_date, a.approval, a.model_version, left(a.digest, 12)
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = 'run the day again: it takes the approved model';
    END IF;
    -- 4. An attempt that found its rows current already counts as well: it looked later.
    SELECT max(b.attempt) INTO higher FROM batch_attempts b
    WHERE b.event_date = a.event_date AND b.attempt > number
      AND b.state IN ('published', 'unchanged');
    IF higher IS NOT NULL THEN
        RAISE EXCEPTION 'attempt % at % came too late: attempt % was published',
            number, a.event_date, higher
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = 'nothing: the newer attempt stands';
    END IF;
    RETURN a;
END
$f$;

CREATE FUNCTION close_attempt(a batch_attempts, how text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
BEGIN
    IF a.stage_table IS NOT NULL THEN
        -- Not needed: its rows are there under the same publish_id.
        EXECUTE format('DROP TABLE IF EXISTS {schema}.%I', a.stage_table);
    END IF;
    UPDATE batch_attempts b SET state = how, stage_table = NULL
    WHERE b.attempt = a.attempt AND b.state = 'staged';
END
$f$;

-- What is held was attached by an attempt that died before readers were told, or by a stranger's.
CREATE FUNCTION require_same_rows(a batch_attempts, held regclass) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
BEGIN
    IF a.stage_table IS NOT NULL AND a.checksum IS DISTINCT FROM (
        SELECT s.checksum FROM summary(held) s) THEN
        RAISE EXCEPTION 'attempt % at % staged other rows than are held as publish %',
            a.attempt, a.event_date, left(a.publish_id, 12)
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = format('compare {schema}.%s with %s', a.stage_table, held);
    END IF;
END
$f$;

-- The first half: true when the attempt's rows lie under their publish_id, where nobody looks
-- yet; false when readers see them already.
CREATE FUNCTION place_publish(number bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
DECLARE
    a batch_attempts := take_attempt(number);
    held regclass := publish_partition(a.event_date, a.publish_id);
    name text := day_table('predictions_batch', a.event_date) || '_' || a.publish_id;
BEGIN
    IF is_current(a) THEN
        PERFORM close_attempt(a, 'unchanged');
        RETURN false;
    END IF;
    IF held IS NOT NULL THEN
        PERFORM require_same_rows(a, held);
        RETURN true;
    END IF;
    IF a.stage_table IS NULL THEN
        RAISE EXCEPTION 'attempt % at % counted on an older publish (%) that is gone',
            number, a.event_date, a.publish_id
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = 'run the day again: it will be scored';
    END IF;
    EXECUTE format('ALTER TABLE {schema}.%I RENAME TO %I', a.stage_table, name);
    EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES IN (%L)',
        day_table('predictions_batch', a.event_date), name, a.publish_id);
    -- From here on it belongs to the publish_id, and to whichever attempt publishes that.
    UPDATE batch_attempts b SET stage_table = NULL WHERE b.attempt = number;
    RETURN true;
END
$f$;

-- Changes nothing. A plan that was being made while the table was attached may have missed it,
-- and would be kept for good: only a change of the table that the query names makes a session
-- look at it again.
CREATE FUNCTION tell_readers() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
BEGIN
    ALTER TABLE ONLY predictions_batch ALTER COLUMN event_date SET STATISTICS -1;
END
$f$;

-- The second half: points readers there. How it was done: attached, switched or unchanged.
CREATE FUNCTION switch_publish(number bigint) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $f$
DECLARE
    a batch_attempts := take_attempt(number);
    held regclass := publish_partition(a.event_date, a.publish_id);
    how text := 'attached';
BEGIN
    IF is_current(a) THEN
        PERFORM close_attempt(a, 'unchanged');
        RETURN 'unchanged';
    END IF;
    IF held IS NULL THEN
        RAISE EXCEPTION 'attempt % at % is not placed: readers would find the day empty',
            number, a.event_date
            USING ERRCODE = 'LS001', DETAIL = what_readers_see(a.event_date),
            HINT = 'publish it again, from its first step';
    END IF;
    PERFORM require_same_rows(a, held);
    IF EXISTS (SELECT FROM publish_log l
               WHERE l.event_date = a.event_date AND l.publish_id = a.publish_id) THEN
        how := 'switched';
    END IF;
    INSERT INTO current_publish (event_date, publish_id, attempt)
    VALUES (a.event_date, a.publish_id, number)
    ON CONFLICT (event_date) DO UPDATE
    SET publish_id = excluded.publish_id, attempt = excluded.attempt;
    INSERT INTO publish_log (attempt, event_date, publish_id, approval, model_version, digest, rows,
        checksum, input_fingerprint, run_id)
    VALUES (number, a.event_date, a.publish_id, a.approval, a.model_version, a.digest,
        a.staged_rows, a.checksum, a.input_fingerprint, a.run_id);
    PERFORM close_attempt(a, 'published');
    RETURN how;
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
    for statements in (OWNERSHIP, APPROVALS, DAYS, ATTEMPTS, PUBLISH, RIGHTS):
        for name, quoted in names.items():
            statements = statements.replace("{" + name + "}", quoted)
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    raise NotImplementedError("it would give the scorer back what published rows are safe from")
