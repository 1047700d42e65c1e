"""What a use case's schema holds, as SQLAlchemy Core tables.

The migrations make these tables; a test holds both to each other. Names carry no schema: a
connection's search path is its use case's schema and nothing else.

Every prediction leads to what made it. A batch row: its publish_id, through publish_log, to
model version, digest, input fingerprint and run. A stream row: its approval, to model version
and digest, and its stream, partition and offset, to the event as it came.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

__all__ = [
    "approvals",
    "attempt_numbers",
    "audit_windows",
    "audits",
    "batch_attempts",
    "current_publish",
    "landing_rejects",
    "landings",
    "metadata",
    "predictions_batch",
    "predictions_stream",
    "publish_conflicts",
    "publish_log",
    "stream_batches",
    "stream_offsets",
    "streams",
]

metadata = MetaData()
_MOMENT = DateTime(timezone=True)
_NOW = text("now()")


def _prediction_columns() -> list[Column[object]]:
    """The columns that a prediction has wherever it was made."""
    return [
        Column("event_id", Text, primary_key=True),
        Column("event_time", _MOMENT, primary_key=True),
        Column("entity", Text),
        Column("score", REAL, nullable=False),
        Column("margin", REAL),
        Column("window_values", ARRAY(REAL)),
    ]


# Append-only, by grants and by a trigger. The highest sequence names the digest that serves.
approvals = Table(
    "approvals",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("model_version", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    # What the approver typed; nobody checked it.
    Column("given_name", Text),
    Column("reason", Text, nullable=False),
    Column("evidence", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("approved_at", _MOMENT, nullable=False, server_default=_NOW),
    # The login that approved, by the database's word; NULL before that was recorded.
    Column("approver", Text),
    CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="approvals_digest"),
    CheckConstraint("reason ~ '[^[:space:]]'", name="approvals_reason"),
)

# RANGE by event_date, below it LIST by publish_id: a publish is a partition of its day.
predictions_batch = Table(
    "predictions_batch",
    metadata,
    Column("event_date", Date, primary_key=True),
    Column("publish_id", Text, primary_key=True),
    *_prediction_columns(),
    postgresql_partition_by="RANGE (event_date)",
)

# Which publish of a day readers see, and the attempt that made it so.
current_publish = Table(
    "current_publish",
    metadata,
    Column("event_date", Date, primary_key=True),
    Column("publish_id", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
)

# One row whenever a day's current publish changed.
publish_log = Table(
    "publish_log",
    metadata,
    Column("attempt", BigInteger, primary_key=True, autoincrement=False),
    Column("event_date", Date, nullable=False),
    Column("publish_id", Text, nullable=False),
    Column("approval", Integer, nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("input_fingerprint", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("published_at", _MOMENT, nullable=False, server_default=_NOW),
    Index("publish_log_day", "event_date", "publish_id"),
)

# Events of a publish's input that came in copies which do not say the same.
publish_conflicts = Table(
    "publish_conflicts",
    metadata,
    Column("event_date", Date, primary_key=True),
    Column("publish_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("event_time", _MOMENT, primary_key=True),
    Column("copies", JSONB, nullable=False),
    Column("fields", ARRAY(Text), nullable=False),
)

attempt_numbers = Sequence("attempt_numbers", data_type=BigInteger, metadata=metadata)

# Every try at a day. States: staging, staged, published, unchanged, abandoned.
batch_attempts = Table(
    "batch_attempts",
    metadata,
    Column("attempt", BigInteger, primary_key=True, autoincrement=False),
    Column("event_date", Date, nullable=False),
    Column("publish_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("approval", Integer, nullable=False),
    Column("input_fingerprint", Text, nullable=False),
    Column("input_rows", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("stage_table", Text),
    Column("staged_rows", BigInteger),
    Column("checksum", Text),
    Column("state", Text, nullable=False),
    Column("started_at", _MOMENT, nullable=False, server_default=_NOW),
    Column("finished_at", _MOMENT),
    # The server process of the job that stages it: while that lives, somebody is at work.
    Column("session_pid", Integer),
    CheckConstraint(
        "state IN ('staging', 'staged', 'published', 'unchanged', 'abandoned')",
        name="batch_attempts_state",
    ),
    Index("batch_attempts_day", "event_date", "attempt"),
    Index("batch_attempts_run", "run_id", "attempt"),
)

streams = Table(
    "streams",
    metadata,
    Column("stream_id", SmallInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False, unique=True),
    Column("topic_uuid", Text, nullable=False),
)

# How far each partition of a topic is in the warehouse (next_offset), who may write it (epoch),
# and below which offset Kafka has acknowledged the scored events (produced_offset).
stream_offsets = Table(
    "stream_offsets",
    metadata,
    Column("stream_id", SmallInteger, primary_key=True, autoincrement=False),
    Column("kafka_partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("produced_offset", BigInteger, nullable=False, server_default=text("0")),
    # Updated with every micro-batch: room for the new version on the same page.
    postgresql_with={"fillfactor": "50"},
)

predictions_stream = Table(
    "predictions_stream",
    metadata,
    Column("event_date", Date, primary_key=True),
    Column("stream_id", SmallInteger, primary_key=True, autoincrement=False),
    *_prediction_columns(),
    Column("approval", Integer, nullable=False),
    Column("kafka_partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("scored_at", _MOMENT, nullable=False, server_default=_NOW),
    # The bounded wait for state expired: window values are those of the stretch's cut.
    Column("incomplete", Boolean, nullable=False, server_default=text("false")),
    # For "rows of this partition from that offset on" after a restart. Rows arrive in the order
    # of their offsets, so a few bytes for each range of pages find them.
    Index(
        "predictions_stream_offsets",
        "stream_id",
        "kafka_partition",
        "kafka_offset",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "16", "autosummarize": "true"},
    ),
    postgresql_partition_by="RANGE (event_date)",
)

# How far each state topic had been read (cut: topic -> offset by partition) when a stretch of a
# partition was scored. Written with its rows: their scored_at is its committed_at.
stream_batches = Table(
    "stream_batches",
    metadata,
    Column("stream_id", SmallInteger, primary_key=True, autoincrement=False),
    Column("kafka_partition", Integer, primary_key=True, autoincrement=False),
    Column("first_offset", BigInteger, primary_key=True, autoincrement=False),
    # After an accepted loss offsets begin again; epochs do not.
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("approval", Integer, nullable=False),
    Column("cut", JSONB, nullable=False),
    Column("incomplete", Boolean, nullable=False, server_default=text("false")),
    Column("committed_at", _MOMENT, nullable=False, server_default=_NOW),
)

# Events that a landing run brought into the lake, by topic and day.
landings = Table(
    "landings",
    metadata,
    Column("landing_id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("event_date", Date, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False, server_default=text("0")),
    Column("offsets", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("landed_at", _MOMENT, nullable=False, server_default=_NOW),
    # Of the rows and of the late ones, events that the lake did not have.
    Column("fresh", BigInteger, nullable=False),
    Column("fresh_late", BigInteger, nullable=False),
    UniqueConstraint("run_id", "topic", "source", "event_date", name="landings_once"),
    Index("landings_day", "event_date", "source"),
)

# Records that it left out, by the reason.
landing_rejects = Table(
    "landing_rejects",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("example", Text),
    Column("landed_at", _MOMENT, nullable=False, server_default=_NOW),
)

# One audit of a day's stream rows: each row is counted once, as its worst window.
audits = Table(
    "audits",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("event_date", Date, nullable=False),
    Column("topic", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("equal", BigInteger, nullable=False),
    Column("incomplete", BigInteger, nullable=False),
    Column("unexplained", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False, server_default=text("0")),
    Column("conflicting", BigInteger, nullable=False, server_default=text("0")),
    Column("late_events", BigInteger, nullable=False),
    Column("late_changed", BigInteger, nullable=False),
    Column("examples", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("audited_at", _MOMENT, nullable=False, server_default=_NOW),
    Index("audits_day", "event_date", "topic", "audit_id"),
)

audit_windows = Table(
    "audit_windows",
    metadata,
    Column("audit_id", BigInteger, ForeignKey("audits.audit_id"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("window_name", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("equal", BigInteger, nullable=False),
    Column("incomplete", BigInteger, nullable=False),
    Column("unexplained", BigInteger, nullable=False),
    Column("late_changed", BigInteger, nullable=False),
    Column("largest_difference", Double),
    Column("examples", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
)
