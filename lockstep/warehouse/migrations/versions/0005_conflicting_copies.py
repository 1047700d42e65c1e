"""Events of which the lake has copies that do not say the same: marked wherever they are read.

Runs as USE_CASE_owner. A publish scored the first copy; the stream answered the one that it read
first. Neither is a fault of theirs, and both stay: docs/adr/0015.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

COPIES = """
-- Of the input of one publish: written when it was checked, so before it is published.
CREATE TABLE publish_conflicts (
    event_date date NOT NULL,
    publish_id text NOT NULL,
    event_id text NOT NULL,
    event_time timestamptz NOT NULL,
    copies jsonb NOT NULL,
    fields text[] NOT NULL,
    PRIMARY KEY (event_date, publish_id, event_id, event_time)
);

CREATE VIEW conflicting_copies AS
SELECT p.event_date, p.event_id, p.event_time, p.copies, p.fields, p.publish_id
FROM current_publish c
JOIN publish_conflicts p ON p.event_date = c.event_date AND p.publish_id = c.publish_id;
COMMENT ON VIEW conflicting_copies IS
    'Events of published days that came in copies which differ in `fields`. `copies` are their
     [partition, offset] on Kafka, the one that batch scored first; null: it was loaded.';

ALTER TABLE audits ADD COLUMN conflicting bigint NOT NULL DEFAULT 0;
"""


def upgrade() -> None:
    use_case = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    op.get_bind().exec_driver_sql(COPIES)
    scorer, releaser, analyst = (
        f'"{use_case}_{role}"' for role in ("scorer", "releaser", "analyst")
    )
    op.execute(f"GRANT SELECT, INSERT ON publish_conflicts TO {scorer}")
    op.execute(f"GRANT INSERT (conflicting) ON audits TO {scorer}")
    op.execute(f"GRANT SELECT ON conflicting_copies TO {scorer}, {releaser}, {analyst}")


def downgrade() -> None:
    raise NotImplementedError("what was in conflict is found again by scoring the day again")
