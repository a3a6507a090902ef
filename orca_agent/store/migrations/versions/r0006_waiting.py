"""Runs that wait: for their moment, with the time zone in which whoever said so thinks of it; and for what a person says.

A run that waits for its moment has ``started`` there and not when it was stored, so the latter has a column of its own from here
on. An input is a row from when it is asked for; ``said`` is set once.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    op.execute("""
        ALTER TABLE queue
            ADD COLUMN scheduled timestamptz,
            ADD COLUMN time_zone text,
            ADD COLUMN is_awaiting boolean NOT NULL DEFAULT false,
            ADD COLUMN created timestamptz""")
    op.execute("ALTER TABLE queue ALTER COLUMN created SET DEFAULT now()")
    op.execute("""
        CREATE TABLE inputs (
            run_id text NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            path text NOT NULL,
            step text NOT NULL,
            request text NOT NULL,
            said text,
            idempotency_key text,
            PRIMARY KEY (run_id, path)
        )""")


def downgrade() -> None:
    """Drop them. A run that was scheduled begins as soon as somebody takes it."""
    op.execute("DROP TABLE inputs")
    op.execute("ALTER TABLE queue DROP COLUMN scheduled, DROP COLUMN time_zone, DROP COLUMN is_awaiting, DROP COLUMN created")
