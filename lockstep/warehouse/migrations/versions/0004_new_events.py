"""Landings say how many events are new; a published day has changed only when some are.

Runs as USE_CASE_owner. Of what landed before, nobody counted: all of it counts as new.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

LANDINGS = """
ALTER TABLE landings ADD COLUMN fresh bigint, ADD COLUMN fresh_late bigint;
UPDATE landings SET fresh = rows, fresh_late = late;
ALTER TABLE landings ALTER COLUMN fresh SET NOT NULL, ALTER COLUMN fresh_late SET NOT NULL;
"""

VIEW = """
CREATE OR REPLACE VIEW changed_days AS
SELECT l.source, l.event_date, sum(l.fresh)::bigint AS rows, sum(l.fresh_late)::bigint AS late,
       max(l.landed_at) AS landed_at, c.publish_id, p.published_at
FROM landings l
JOIN current_publish c ON c.event_date = l.event_date
JOIN publish_log p ON p.attempt = c.attempt
WHERE l.fresh > 0 AND l.landed_at > (
    SELECT max(b.started_at) FROM batch_attempts b
    WHERE b.event_date = c.event_date AND b.publish_id = c.publish_id
      AND b.state IN ('published', 'unchanged')
)
GROUP BY l.source, l.event_date, c.publish_id, p.published_at;
COMMENT ON VIEW changed_days IS
    'Published days of which new events landed in the lake since; copies are none. Days whose
     windows see them change too, and are not listed.';
"""


def upgrade() -> None:
    use_case = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    for statements in (LANDINGS, VIEW):
        op.get_bind().exec_driver_sql(statements)
    op.execute(f'GRANT INSERT (fresh, fresh_late) ON landings TO "{use_case}_scorer"')


def downgrade() -> None:
    raise NotImplementedError("what was new cannot be counted again: restore a backup")
