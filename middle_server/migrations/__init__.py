"""The database's history. Alembic runs it; ``migrate`` starts it."""
