"""A destination whose requests Amazon answers with 404 waits, and is tried again now and then.

Revision ID: 0011_endpoint_not_found
Revises: 0010_what_is_final
"""

from alembic import op

revision = "0011_endpoint_not_found"
down_revision = "0011_key_usage"
branch_labels = None
depends_on = None

NAME = "destinations_sign_in_reason_check"
BEFORE = "'revoked', 'unauthorized', 'forbidden', 'disconnected'"


def upgrade() -> None:
    op.execute("ALTER TABLE destinations ADD COLUMN endpoint_probe_at timestamptz")
    # Not validated: every row that the narrower one let in fits the wider one.
    _reasons(f"{BEFORE}, 'endpoint_not_found'", "NOT VALID")


def downgrade() -> None:
    # The sign-in of such a destination is in order: its next request shows whether the endpoint is there.
    op.execute(
        "UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL "
        "WHERE sign_in_reason = 'endpoint_not_found'"
    )
    _reasons(BEFORE)
    op.execute("ALTER TABLE destinations DROP COLUMN endpoint_probe_at")


def _reasons(words: str, more: str = "") -> None:
    op.execute(f"ALTER TABLE destinations DROP CONSTRAINT {NAME}")
    op.execute(f"ALTER TABLE destinations ADD CONSTRAINT {NAME} CHECK (sign_in_reason IN ({words})) {more}")
