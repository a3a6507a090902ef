"""What Alembic runs: on the connection that ``migrate`` opened, with this package's own version table."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="middle",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
