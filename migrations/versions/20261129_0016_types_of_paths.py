"""Count the types of mapped paths, so that a text that became a number is noticed.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Processes of the previous release count no types: they add 0 to both.
    op.execute(
        "ALTER TABLE path_days ADD COLUMN texts bigint NOT NULL DEFAULT 0, "
        "ADD COLUMN others bigint NOT NULL DEFAULT 0"
    )
    op.execute("ALTER TABLE mapping_checks ADD COLUMN drift_is_text boolean")


def downgrade() -> None:
    op.execute("ALTER TABLE path_days DROP COLUMN texts, DROP COLUMN others")
    op.execute("ALTER TABLE mapping_checks DROP COLUMN drift_is_text")
