"""The complete selection of a replay, and who dismissed a dead letter.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Adding a column without a default rewrites no row.
    op.execute("ALTER TABLE exceptions ADD COLUMN dismissed_by text")
    op.execute("ALTER TABLE replays ADD COLUMN selection jsonb NOT NULL DEFAULT '{}'")
    op.execute(
        "UPDATE replays SET selection = jsonb_strip_nulls(jsonb_build_object("
        "'status', status, 'reason', reason, 'since', since, 'until', until))"
    )
    # The previous release writes the old columns until its processes are replaced. A later release drops them.
    op.execute("ALTER TABLE replays ALTER COLUMN status SET DEFAULT 'dead'")


def downgrade() -> None:
    op.execute(
        "UPDATE replays SET status = coalesce(selection ->> 'status', 'dead'), "
        "reason = selection ->> 'reason', since = (selection ->> 'since')::timestamptz, "
        "until = (selection ->> 'until')::timestamptz"
    )
    op.execute("ALTER TABLE replays ALTER COLUMN status DROP DEFAULT, DROP COLUMN selection")
    op.execute("ALTER TABLE exceptions DROP COLUMN dismissed_by")
