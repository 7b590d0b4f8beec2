"""The other problems of a rejected event in its record.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A list of at most nine objects with `reason`, `field` and `mapping_field`; null if the event has no other
    # problem. Adding a column without a default rewrites no row.
    op.execute("ALTER TABLE rejection_records ADD COLUMN also jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE rejection_records DROP COLUMN also")
