"""What a node keeps of its rounds: the leases it took, the verdicts it gave, what it put on chain and what became of it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE assignments (
            claim_id text PRIMARY KEY,
            number bigint GENERATED ALWAYS AS IDENTITY,
            state text NOT NULL,
            todo text,
            run_id text,
            round bigint,
            cid text,
            ending text,
            updated timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("CREATE INDEX assignments_by_state ON assignments (state, number)")
    op.execute("CREATE INDEX assignments_by_round ON assignments (round) WHERE round IS NOT NULL")
    op.execute("""
        CREATE TABLE reviews (
            round bigint NOT NULL,
            worker text NOT NULL,
            cid text NOT NULL,
            vote text NOT NULL,
            reason text NOT NULL,
            document bytea NOT NULL,
            vsa bytea,
            made timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (round, worker, cid)
        )""")
    op.execute("""
        CREATE TABLE rounds (
            number bigint PRIMARY KEY,
            submitted text,
            settled boolean NOT NULL DEFAULT false,
            outcomes text,
            updated timestamptz NOT NULL DEFAULT now()
        )""")


def downgrade() -> None:
    """Drop the tables and everything in them."""
    op.execute("DROP TABLE rounds, reviews, assignments")
