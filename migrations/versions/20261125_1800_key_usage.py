"""Since which parcel each encryption key is used, so that its use can be bounded.

Revision ID: 0011_key_usage
Revises: 0010_what_is_final
"""

from alembic import op

revision = "0011_key_usage"
down_revision = "0011_event_history"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE encryption_keys ("
        "  id text PRIMARY KEY,"
        "  first_parcel bigint NOT NULL,"
        "  first_used_at timestamptz NOT NULL DEFAULT now()"
        ")"
    )


def downgrade() -> None:
    op.execute("DROP TABLE encryption_keys")
