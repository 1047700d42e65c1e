"""Windows: what a stream row had seen, landings into the lake, and the nightly audit.

Runs as USE_CASE_owner. What this adds is written once and read: the owner keeps the tables, and
the scorer may insert into them and read them, nothing more.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

STREAM = """
ALTER TABLE predictions_stream ADD COLUMN incomplete boolean NOT NULL DEFAULT false;

-- How far each state topic had been read when a stretch of a partition was scored. The epoch
-- belongs to the key: after an accepted loss offsets begin again, epochs do not.
CREATE TABLE stream_batches (
    stream_id smallint NOT NULL,
    kafka_partition integer NOT NULL,
    first_offset bigint NOT NULL,
    epoch bigint NOT NULL,
    next_offset bigint NOT NULL,
    approval integer NOT NULL,
    cut jsonb NOT NULL,
    incomplete boolean NOT NULL DEFAULT false,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream_id, kafka_partition, first_offset, epoch)
);
"""

LANDINGS = """
CREATE TABLE landings (
    landing_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL,
    topic text NOT NULL,
    source text NOT NULL,
    event_date date NOT NULL,
    rows bigint NOT NULL,
    late bigint NOT NULL DEFAULT 0,
    offsets jsonb NOT NULL DEFAULT '{}'::jsonb,
    landed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT landings_once UNIQUE (run_id, topic, source, event_date)
);
CREATE INDEX landings_day ON landings (event_date, source);

CREATE TABLE landing_rejects (
    run_id text NOT NULL,
    topic text NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    rows bigint NOT NULL,
    example text,
    landed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, topic, source, reason)
);
"""

AUDITS = """
CREATE TABLE audits (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL,
    event_date date NOT NULL,
    topic text NOT NULL,
    rows bigint NOT NULL,
    equal bigint NOT NULL,
    incomplete bigint NOT NULL,
    unexplained bigint NOT NULL,
    missing bigint NOT NULL DEFAULT 0,
    late_events bigint NOT NULL,
    late_changed bigint NOT NULL,
    examples jsonb NOT NULL DEFAULT '[]'::jsonb,
    audited_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audits_day ON audits (event_date, topic, audit_id);

CREATE TABLE audit_windows (
    audit_id bigint NOT NULL CONSTRAINT audit_windows_audit REFERENCES audits,
    digest text NOT NULL,
    window_name text NOT NULL,
    rows bigint NOT NULL,
    equal bigint NOT NULL,
    incomplete bigint NOT NULL,
    unexplained bigint NOT NULL,
    late_changed bigint NOT NULL,
    largest_difference double precision,
    examples jsonb NOT NULL DEFAULT '[]'::jsonb,
    PRIMARY KEY (audit_id, digest, window_name)
);
"""

VIEWS = """
CREATE OR REPLACE VIEW predictions AS
SELECT 'batch'::text AS source, b.event_date, b.event_id, b.event_time, b.entity,
       b.score, b.margin, b.window_values, l.model_version, l.digest AS model_digest,
       b.publish_id, NULL::text AS topic, NULL::integer AS kafka_partition,
       NULL::bigint AS kafka_offset, l.published_at AS available_at, false AS incomplete
FROM current_publish c
JOIN publish_log l ON l.attempt = c.attempt
JOIN predictions_batch b ON b.event_date = c.event_date AND b.publish_id = c.publish_id
UNION ALL
SELECT 'stream', s.event_date, s.event_id, s.event_time, s.entity,
       s.score, s.margin, s.window_values, a.model_version, a.digest,
       NULL, t.topic, s.kafka_partition, s.kafka_offset, s.scored_at, s.incomplete
FROM predictions_stream s
JOIN streams t ON t.stream_id = s.stream_id
JOIN approvals a ON a.sequence = s.approval;

CREATE OR REPLACE VIEW latest_predictions AS
SELECT p.* FROM predictions p WHERE p.source = 'batch'
UNION ALL
SELECT s.* FROM (
    SELECT DISTINCT ON (p.event_date, p.event_id, p.event_time)
           'stream'::text AS source, p.event_date, p.event_id, p.event_time, p.entity,
           p.score, p.margin, p.window_values, a.model_version, a.digest AS model_digest,
           NULL::text AS publish_id, t.topic, p.kafka_partition, p.kafka_offset,
           p.scored_at AS available_at, p.incomplete
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

-- A run looks at the lake after it began: what landed later it may have missed. A run that found
-- nothing changed has looked, too.
CREATE VIEW changed_days AS
SELECT l.source, l.event_date, sum(l.rows)::bigint AS rows, sum(l.late)::bigint AS late,
       max(l.landed_at) AS landed_at, c.publish_id, p.published_at
FROM landings l
JOIN current_publish c ON c.event_date = l.event_date
JOIN publish_log p ON p.attempt = c.attempt
WHERE l.rows > 0 AND l.landed_at > (
    SELECT max(b.started_at) FROM batch_attempts b
    WHERE b.event_date = c.event_date AND b.publish_id = c.publish_id
      AND b.state IN ('published', 'unchanged')
)
GROUP BY l.source, l.event_date, c.publish_id, p.published_at;
COMMENT ON VIEW changed_days IS
    'Published days of which more events landed in the lake since. Days whose windows see them
     change too, and are not listed.';

CREATE VIEW window_audits AS
SELECT a.event_date, a.topic, w.window_name, m.model_version, w.digest AS model_digest,
       w.rows, w.equal, w.incomplete, w.unexplained, w.late_changed, w.largest_difference,
       w.examples, a.late_events, a.missing, a.run_id, a.audit_id, a.audited_at
FROM (
    SELECT DISTINCT ON (event_date, topic) * FROM audits
    ORDER BY event_date, topic, audit_id DESC
) a
JOIN audit_windows w ON w.audit_id = a.audit_id
LEFT JOIN (
    SELECT digest, max(model_version) AS model_version FROM approvals GROUP BY digest
) m ON m.digest = w.digest;
COMMENT ON VIEW window_audits IS
    'The newest audit of each day and topic: stored window values against recomputed ones.';
"""

APPENDED_BY_SCORER = ("stream_batches", "landings", "landing_rejects", "audits", "audit_windows")


def upgrade() -> None:
    use_case = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    for statements in (STREAM, LANDINGS, AUDITS, VIEWS):
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
    scorer, releaser, analyst = (
        f'"{use_case}_{role}"' for role in ("scorer", "releaser", "analyst")
    )
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(APPENDED_BY_SCORER)} TO {scorer}")
    op.execute(f"GRANT SELECT ON changed_days, window_audits TO {scorer}, {releaser}, {analyst}")


def downgrade() -> None:
    raise NotImplementedError("what the stream saw cannot be made again: restore a backup")
