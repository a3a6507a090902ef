"""What runs tell: numbered events, one count a run; and the wish that a run be cancelled.

The count stands in a row of its own and not in ``runs``: the journal holds that row against a change of epoch in every write,
and must not wait for an event.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE event_counts (
            run_id text PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            last bigint NOT NULL,
            is_closed boolean NOT NULL DEFAULT false,
            batch text
        )""")
    op.execute("""
        CREATE TABLE events (
            run_id text NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            number bigint NOT NULL,
            at double precision NOT NULL,
            kind text NOT NULL,
            body text NOT NULL,
            PRIMARY KEY (run_id, number)
        )""")
    op.execute("ALTER TABLE queue ADD COLUMN cancel_requested timestamptz")
    op.execute("CREATE INDEX runs_by_finished ON runs (finished) WHERE finished IS NOT NULL")


def downgrade() -> None:
    """Drop the tables and everything in them."""
    op.execute("DROP INDEX runs_by_finished")
    op.execute("ALTER TABLE queue DROP COLUMN cancel_requested")
    op.execute("DROP TABLE events, event_counts")
