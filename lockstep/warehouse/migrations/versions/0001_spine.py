"""Approvals, predictions of batch and stream, publishes, offsets, and the analysts' views.

Runs as USE_CASE_owner inside the schema USE_CASE. The scorer owns what it writes, since
attaching a partition needs ownership; the owner keeps the approvals and the views. (0003 takes
that back.)
"""

from alembic import op

revision = "0001"
down_revision = None

APPROVALS = """
CREATE TABLE approvals (
    sequence integer PRIMARY KEY,
    model_version integer NOT NULL,
    digest text NOT NULL CONSTRAINT approvals_digest CHECK (digest ~ '^[0-9a-f]{64}$'),
    approver text NOT NULL,
    reason text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}'::jsonb,
    approved_at timestamptz NOT NULL DEFAULT now()
);

-- Grants keep the roles from changing an approval; this keeps the owner from doing it by accident.
CREATE FUNCTION approvals_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$
DECLARE
    newest integer;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'approvals are append-only: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('SELECT coalesce(max(sequence), 0) FROM %I.approvals', TG_TABLE_SCHEMA)
        INTO newest;
    IF NEW.sequence <> newest + 1 THEN
        RAISE EXCEPTION 'approval % does not follow %', NEW.sequence, newest
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$guard$;
CREATE TRIGGER approvals_append BEFORE INSERT OR UPDATE OR DELETE ON approvals
    FOR EACH ROW EXECUTE FUNCTION approvals_guard();
CREATE TRIGGER approvals_keep BEFORE TRUNCATE ON approvals
    FOR EACH STATEMENT EXECUTE FUNCTION approvals_guard();
"""

BATCH = """
CREATE TABLE predictions_batch (
    event_date date NOT NULL,
    publish_id text NOT NULL,
    event_id text NOT NULL,
    event_time timestamptz NOT NULL,
    entity text,
    score real NOT NULL,
    margin real,
    window_values real[],
    PRIMARY KEY (event_date, publish_id, event_id, event_time)
) PARTITION BY RANGE (event_date);

CREATE TABLE current_publish (
    event_date date PRIMARY KEY,
    publish_id text NOT NULL,
    attempt bigint NOT NULL
);

CREATE TABLE publish_log (
    attempt bigint PRIMARY KEY,
    event_date date NOT NULL,
    publish_id text NOT NULL,
    approval integer NOT NULL,
    model_version integer NOT NULL,
    digest text NOT NULL,
    rows bigint NOT NULL,
    checksum text NOT NULL,
    input_fingerprint text NOT NULL,
    run_id text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX publish_log_day ON publish_log (event_date, publish_id);

CREATE SEQUENCE attempt_numbers AS bigint;
CREATE TABLE batch_attempts (
    attempt bigint PRIMARY KEY,
    event_date date NOT NULL,
    publish_id text NOT NULL,
    digest text NOT NULL,
    model_version integer NOT NULL,
    approval integer NOT NULL,
    input_fingerprint text NOT NULL,
    input_rows bigint NOT NULL,
    run_id text NOT NULL,
    stage_table text,
    staged_rows bigint,
    checksum text,
    state text NOT NULL CONSTRAINT batch_attempts_state
        CHECK (state IN ('staging', 'staged', 'published', 'unchanged', 'abandoned')),
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX batch_attempts_day ON batch_attempts (event_date, attempt);
CREATE INDEX batch_attempts_run ON batch_attempts (run_id, attempt);
"""

STREAM = """
CREATE TABLE streams (
    stream_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL UNIQUE,
    topic_uuid text NOT NULL
);

-- Updated with every micro-batch: leave room for the new version on the same page.
CREATE TABLE stream_offsets (
    stream_id smallint NOT NULL,
    kafka_partition integer NOT NULL,
    next_offset bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    produced_offset bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (stream_id, kafka_partition)
) WITH (fillfactor = 50);

CREATE TABLE predictions_stream (
    event_date date NOT NULL,
    stream_id smallint NOT NULL,
    event_id text NOT NULL,
    event_time timestamptz NOT NULL,
    entity text,
    score real NOT NULL,
    margin real,
    window_values real[],
    approval integer NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    scored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_date, stream_id, event_id, event_time)
) PARTITION BY RANGE (event_date);
CREATE INDEX predictions_stream_offsets
    ON predictions_stream USING brin (stream_id, kafka_partition, kafka_offset)
    WITH (pages_per_range = 16, autosummarize = true);
"""

VIEWS = """
CREATE VIEW predictions AS
SELECT 'batch'::text AS source, b.event_date, b.event_id, b.event_time, b.entity,
       b.score, b.margin, b.window_values, l.model_version, l.digest AS model_digest,
       b.publish_id, NULL::text AS topic, NULL::integer AS kafka_partition,
       NULL::bigint AS kafka_offset, l.published_at AS available_at
FROM current_publish c
JOIN publish_log l ON l.attempt = c.attempt
JOIN predictions_batch b ON b.event_date = c.event_date AND b.publish_id = c.publish_id
UNION ALL
SELECT 'stream', s.event_date, s.event_id, s.event_time, s.entity,
       s.score, s.margin, s.window_values, a.model_version, a.digest,
       NULL, t.topic, s.kafka_partition, s.kafka_offset, s.scored_at
FROM predictions_stream s
JOIN streams t ON t.stream_id = s.stream_id
JOIN approvals a ON a.sequence = s.approval;
COMMENT ON VIEW predictions IS
    'Every prediction that counts: of each day the current publish, and all of the stream.';

-- Of several streams that scored the same event the one registered last answers.
CREATE VIEW latest_predictions AS
SELECT p.* FROM predictions p WHERE p.source = 'batch'
UNION ALL
SELECT s.* FROM (
    SELECT DISTINCT ON (p.event_date, p.event_id, p.event_time)
           'stream'::text AS source, p.event_date, p.event_id, p.event_time, p.entity,
           p.score, p.margin, p.window_values, a.model_version, a.digest AS model_digest,
           NULL::text AS publish_id, t.topic, p.kafka_partition, p.kafka_offset,
           p.scored_at AS available_at
    FROM predictions_stream p
    JOIN streams t ON t.stream_id = p.stream_id
    JOIN approvals a ON a.sequence = p.approval
    ORDER BY p.event_date, p.event_id, p.event_time, p.stream_id DESC
) s
WHERE NOT EXISTS (
    SELECT 1 FROM current_publish c
    JOIN predictions_batch b ON b.event_date = c.event_date AND b.publish_id = c.publish_id
    WHERE c.event_date = s.event_date AND b.event_date = s.event_date
      AND b.event_id = s.event_id AND b.event_time = s.event_time
);
COMMENT ON VIEW latest_predictions IS
    'One row for each event: the published batch row, else the stream''s.';
"""

WRITTEN_BY_SCORER = (
    "predictions_batch",
    "current_publish",
    "publish_log",
    "batch_attempts",
    "streams",
    "stream_offsets",
    "predictions_stream",
)


def upgrade() -> None:
    use_case = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    for statements in (APPROVALS, BATCH, STREAM, VIEWS):
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
    scorer, releaser, analyst = (
        f'"{use_case}_{role}"' for role in ("scorer", "releaser", "analyst")
    )
    op.execute(f'GRANT CREATE ON SCHEMA "{use_case}" TO {scorer}')
    for table in WRITTEN_BY_SCORER:
        op.execute(f"ALTER TABLE {table} OWNER TO {scorer}")
    op.execute(f"ALTER SEQUENCE attempt_numbers OWNER TO {scorer}")
    # Published rows are never inserted, changed or deleted: a publish attaches a whole table.
    op.execute(f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON predictions_batch FROM {scorer}")
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON publish_log FROM {scorer}")
    op.execute(f"GRANT SELECT ON approvals TO {scorer}, {releaser}")
    # Not approved_at: the moment of an approval is the warehouse's word, not the approver's.
    op.execute(
        "GRANT INSERT (sequence, model_version, digest, approver, reason, evidence)"
        f" ON approvals TO {releaser}"
    )
    op.execute(
        f"GRANT SELECT ON predictions, latest_predictions TO {scorer}, {releaser}, {analyst}"
    )


def downgrade() -> None:
    raise NotImplementedError("the first migration: to undo it, drop the schema")
