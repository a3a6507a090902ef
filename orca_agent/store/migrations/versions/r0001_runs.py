"""Runs and their entries, and what handing runs out to workers needs.

``epoch`` 0 is a run that was stored and never taken. ``due`` is when a run waits for its next worker (also the end of the
lease of the one that holds it); it is null once the run has ended.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE runs (
            id text PRIMARY KEY,
            number bigint GENERATED ALWAYS AS IDENTITY,
            item_id text NOT NULL,
            spec bytea NOT NULL,
            epoch bigint NOT NULL,
            started double precision NOT NULL,
            deadline double precision,
            status text,
            finished double precision,
            reason text
        )""")
    op.execute("CREATE INDEX runs_by_item ON runs (item_id, started, number)")
    op.execute("""
        CREATE TABLE entries (
            run_id text NOT NULL REFERENCES runs (id),
            path text NOT NULL,
            asked integer NOT NULL,
            asked_at text,
            entry text,
            PRIMARY KEY (run_id, path)
        )""")
    op.execute("""
        CREATE TABLE queue (
            run_id text PRIMARY KEY REFERENCES runs (id),
            idempotency_key text NOT NULL UNIQUE,
            request_digest text NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            holder text,
            due timestamptz
        )""")
    op.execute("CREATE INDEX queue_by_due ON queue (due) WHERE due IS NOT NULL")


def downgrade() -> None:
    """Drop the tables and everything in them."""
    op.execute("DROP TABLE queue, entries, runs")
