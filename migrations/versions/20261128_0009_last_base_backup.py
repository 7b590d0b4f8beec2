"""The time of the last base backup, which the command `backup` records when it has verified the backup.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE last_base_backup (id smallint PRIMARY KEY CHECK (id = 1), verified_at instant NOT NULL)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE last_base_backup")
