"""Work items, leases, results, verdicts, and what makes a repeated request harmless."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UP = """
-- Whoever may post work. Keys are 32 random bytes, so a plain digest is enough to keep them by.
CREATE TABLE middle.api_keys (
    sha256    text PRIMARY KEY CHECK (length(sha256) = 64),
    requester text NOT NULL,
    name      text NOT NULL,
    created   timestamptz NOT NULL,
    revoked   timestamptz
);

CREATE TABLE middle.work_items (
    id              text PRIMARY KEY,
    -- the order in which items are handed out
    place           bigint GENERATED ALWAYS AS IDENTITY,
    requester       text NOT NULL,
    task_id         text NOT NULL,
    spec            bytea NOT NULL,
    spec_sha256     text NOT NULL,
    price           numeric(20) NOT NULL CHECK (price > 0 AND price < 18446744073709551616),
    models          jsonb NOT NULL,
    required_checks text[] NOT NULL CHECK (cardinality(required_checks) > 0),
    pays_partial    boolean NOT NULL,
    status          text NOT NULL
                    CHECK (status IN ('queued', 'leased', 'reported', 'in_review', 'done', 'unpaid', 'failed', 'cancelled')),
    attempts        integer NOT NULL DEFAULT 0,
    -- rises with every lease and never falls
    fencing_token   bigint NOT NULL DEFAULT 0,
    -- the lease that is held, or whose result stands
    lease_id        text,
    -- when the item is taken from its holder; set while somebody is waited for, and only then
    deadline        timestamptz,
    created         timestamptz NOT NULL,
    updated         timestamptz NOT NULL,
    CHECK ((status IN ('leased', 'reported')) = (deadline IS NOT NULL)),
    CHECK ((status IN ('leased', 'reported', 'in_review', 'done', 'unpaid')) = (lease_id IS NOT NULL))
);
CREATE INDEX work_items_queued ON middle.work_items (task_id, place) WHERE status = 'queued';
CREATE INDEX work_items_waiting ON middle.work_items (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX work_items_of_requester ON middle.work_items (requester, place);
-- Every claim changes a row of a large queue: look after it more often than by default.
ALTER TABLE middle.work_items SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE TABLE middle.leases (
    id              text PRIMARY KEY,
    work_item       text NOT NULL REFERENCES middle.work_items (id),
    worker          text NOT NULL,
    payout          text NOT NULL,
    claim_id        text NOT NULL,
    github_username text,
    fencing_token   bigint NOT NULL,
    issued          timestamptz NOT NULL,
    expires         timestamptz NOT NULL,
    -- lease.dsse.json; written in the transaction that makes the lease
    document        bytea,
    ending          text CHECK (ending IN ('reported', 'given_back', 'expired', 'cancelled')),
    UNIQUE (worker, claim_id),
    UNIQUE (work_item, fencing_token)
);
CREATE INDEX leases_held ON middle.leases (worker) WHERE ending IS NULL;

-- Who failed an item is not given it again.
CREATE TABLE middle.failures (
    work_item text NOT NULL REFERENCES middle.work_items (id),
    worker    text NOT NULL,
    reason    text NOT NULL CHECK (reason IN ('given_back', 'expired', 'rejected')),
    detail    text,
    at        timestamptz NOT NULL,
    PRIMARY KEY (work_item, worker)
);

CREATE TABLE middle.results (
    lease_id  text PRIMARY KEY REFERENCES middle.leases (id),
    work_item text NOT NULL REFERENCES middle.work_items (id),
    worker    text NOT NULL,
    cid       text NOT NULL,
    reported  timestamptz NOT NULL,
    round     bigint,
    outcome   text CHECK (outcome IN ('approve', 'reject', 'leave_unpaid', 'expire'))
);
CREATE INDEX results_of_item ON middle.results (work_item);
CREATE INDEX results_of_round ON middle.results (round) WHERE round IS NOT NULL;

-- Rounds whose distribution was taken over, once and for all processes.
CREATE TABLE middle.settled_rounds (
    task_id      text NOT NULL,
    round        bigint NOT NULL,
    settled      timestamptz NOT NULL,
    distribution jsonb NOT NULL,
    outcomes     jsonb NOT NULL,
    PRIMARY KEY (task_id, round)
);

CREATE TABLE middle.verdicts (
    auditor   text NOT NULL,
    work_item text NOT NULL REFERENCES middle.work_items (id),
    cid       text NOT NULL,
    round     bigint NOT NULL,
    vote      text NOT NULL CHECK (vote IN ('approve', 'reject', 'abstain')),
    reason    text NOT NULL,
    document  bytea NOT NULL,
    received  timestamptz NOT NULL,
    PRIMARY KEY (work_item, cid, auditor)
);
CREATE INDEX verdicts_of_auditor ON middle.verdicts (auditor, received);

CREATE TABLE middle.nodes (
    task_id         text NOT NULL,
    staking_key     text NOT NULL,
    github_username text,
    gateway         text,
    first_seen      timestamptz NOT NULL,
    last_seen       timestamptz NOT NULL,
    PRIMARY KEY (task_id, staking_key)
);

-- What was asked under which nonce or Idempotency-Key, and what was answered.
CREATE TABLE middle.answers (
    scope        text NOT NULL,
    key          text NOT NULL,
    sha256       text NOT NULL,
    expires      timestamptz NOT NULL,
    status       integer,
    content_type text,
    body         bytea,
    PRIMARY KEY (scope, key)
);
CREATE INDEX answers_expiring ON middle.answers (expires);
"""

_DOWN = """
DROP TABLE middle.answers, middle.nodes, middle.verdicts, middle.settled_rounds, middle.results, middle.failures,
           middle.leases, middle.work_items, middle.api_keys;
"""


def upgrade() -> None:
    """Make every table."""
    op.execute(_UP)


def downgrade() -> None:
    """Remove them, with everything in them."""
    op.execute(_DOWN)
