"""Alembic's entry point, run by `lockstep migrate USE_CASE`.

The caller hands over a connection that already is the use case's owner, with the use case's
schema as its search path; the version table lives in that schema.
"""

from alembic import context

from lockstep.warehouse.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("these migrations run through: lockstep migrate USE_CASE")

context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="schema_version",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
