"""Work items that nobody is given before their moment, and the time zone in which their requester thinks of it."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute("ALTER TABLE middle.work_items ADD COLUMN not_before timestamptz, ADD COLUMN time_zone text")


def downgrade() -> None:
    """Drop them; what was held back is given out at once."""
    op.execute("ALTER TABLE middle.work_items DROP COLUMN not_before, DROP COLUMN time_zone")
