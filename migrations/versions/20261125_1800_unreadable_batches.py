"""Erasures count the batches that could not be read.

Revision ID: 0011_unreadable_batches
Revises: 0010_what_is_final
"""

from alembic import op

revision = "0011_unreadable_batches"
down_revision = "0011_balance_checks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE erasures ADD unreadable bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE erasures DROP unreadable")
