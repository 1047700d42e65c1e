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
