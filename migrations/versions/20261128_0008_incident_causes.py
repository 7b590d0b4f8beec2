"""The reason and the consequences of an incident, the incidents of a message, and the channels that exist.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `reason` selects the remedy. `consequences` are kinds that the incident explains. `merged_into` is the id of
    # the incident that explains this one.
    op.execute(
        "ALTER TABLE incidents ADD COLUMN reason text, ADD COLUMN consequences text[] NOT NULL DEFAULT '{}', "
        "ADD COLUMN merged_into text"
    )
    # The ids of the incidents that a message is about. Messages about one incident keep their order.
    op.execute("ALTER TABLE notifications ADD COLUMN incidents text[] NOT NULL DEFAULT '{}'")
    # When a process with this channel last said so. Messages are written for the channels of all processes.
    op.execute("ALTER TABLE notification_channels ADD COLUMN declared_at instant")


def downgrade() -> None:
    op.execute("ALTER TABLE notification_channels DROP COLUMN declared_at")
    op.execute("ALTER TABLE notifications DROP COLUMN incidents")
    op.execute("ALTER TABLE incidents DROP COLUMN reason, DROP COLUMN consequences, DROP COLUMN merged_into")
