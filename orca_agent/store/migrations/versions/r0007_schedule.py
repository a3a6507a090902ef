"""Runs that begin at a moment: when that is, and the time zone in which whoever said so thinks of it.

Such a run has ``started`` at that moment and not when it was stored, so the latter has a column of its own from here on.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute("ALTER TABLE queue ADD COLUMN scheduled timestamptz, ADD COLUMN time_zone text, ADD COLUMN created timestamptz")
    op.execute("ALTER TABLE queue ALTER COLUMN created SET DEFAULT now()")


def downgrade() -> None:
    """Drop them; a run that was scheduled begins as soon as somebody takes it."""
    op.execute("ALTER TABLE queue DROP COLUMN scheduled, DROP COLUMN time_zone, DROP COLUMN created")
