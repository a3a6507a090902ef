"""What Alembic runs: the migrations, on the connection and in the transaction that ``migrate`` opened."""

from __future__ import annotations

from alembic import context

from orca_agent.store.database import SCHEMA

context.configure(connection=context.config.attributes["connection"], version_table="schema_version", version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
