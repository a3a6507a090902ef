"""What a node keeps of where its proofs are: each proof with how long it stays, and each with how it stands in every store."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE proofs (
            root text PRIMARY KEY,
            number bigint GENERATED ALWAYS AS IDENTITY,
            kind text NOT NULL,
            taken_at timestamptz NOT NULL DEFAULT now(),
            keep_until timestamptz NOT NULL,
            collected_at timestamptz
        )""")
    op.execute("""
        CREATE TABLE pins (
            root text NOT NULL REFERENCES proofs,
            store text NOT NULL,
            stage text NOT NULL,
            due timestamptz NOT NULL,
            tries integer NOT NULL DEFAULT 0,
            error text,
            pinned_at timestamptz,
            checked_at timestamptz,
            PRIMARY KEY (root, store)
        )""")
    op.execute("CREATE INDEX pins_by_due ON pins (store, due)")


def downgrade() -> None:
    """Drop the tables and everything in them."""
    op.execute("DROP TABLE pins, proofs")
