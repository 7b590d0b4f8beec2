"""Leases of the jobs that one process runs at a time: incidents and erasures.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE job_leases (job text PRIMARY KEY, owner text NOT NULL, leased_until instant NOT NULL)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE job_leases")
