"""Who may use the agent's API and how much: keys by their digest, whose a run is, what runs may use of a day, hits of a window.

A run's ceilings are what it may use at most: whoever runs or replays it is told. A row of ``reservations`` belongs to a run: its
ceilings while it goes on, what it used once it is settled.
The windows are unlogged: they cost no flush, and a server that crashes forgets who asked how often, nothing else.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE api_keys (
            id text PRIMARY KEY,
            number bigint GENERATED ALWAYS AS IDENTITY,
            name text NOT NULL,
            sha256 bytea NOT NULL UNIQUE,
            scopes text[] NOT NULL,
            per_minute integer NOT NULL,
            per_day integer,
            concurrent integer NOT NULL,
            calls_per_day bigint,
            input_tokens_per_day bigint,
            output_tokens_per_day bigint,
            cost_per_day numeric,
            created timestamptz NOT NULL DEFAULT now(),
            expires timestamptz,
            last_used timestamptz,
            revoked timestamptz
        )""")
    op.execute("CREATE UNIQUE INDEX api_keys_by_name ON api_keys (name) WHERE revoked IS NULL")
    op.execute("ALTER TABLE runs ADD COLUMN ceilings text")
    op.execute("ALTER TABLE queue ADD COLUMN owner text REFERENCES api_keys (id)")
    op.execute("CREATE INDEX queue_by_owner ON queue (owner) WHERE owner IS NOT NULL AND due IS NOT NULL")
    op.execute("""
        CREATE TABLE reservations (
            run_id text PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            key_id text NOT NULL REFERENCES api_keys (id),
            day date NOT NULL,
            calls bigint,
            input_tokens bigint,
            output_tokens bigint,
            cost numeric,
            is_settled boolean NOT NULL DEFAULT false
        )""")
    op.execute("CREATE INDEX reservations_by_day ON reservations (key_id, day)")
    op.execute("CREATE UNLOGGED TABLE rate_windows (key text PRIMARY KEY, last bigint NOT NULL, until timestamptz NOT NULL)")
    op.execute("""
        CREATE UNLOGGED TABLE rate_hits (
            key text NOT NULL,
            number bigint NOT NULL,
            at double precision NOT NULL,
            PRIMARY KEY (key, number)
        )""")
    op.execute("CREATE INDEX rate_hits_by_time ON rate_hits (key, at)")


def downgrade() -> None:
    """Drop the tables and everything in them."""
    op.execute("DROP TABLE rate_hits, rate_windows, reservations")
    op.execute("DROP INDEX queue_by_owner")
    op.execute("ALTER TABLE queue DROP COLUMN owner")
    op.execute("ALTER TABLE runs DROP COLUMN ceilings")
    op.execute("DROP TABLE api_keys")
