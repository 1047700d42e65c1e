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
