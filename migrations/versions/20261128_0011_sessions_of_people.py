"""Sessions of people: an id, all roles, and the provider's session; used logout tokens.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The previous release reads and writes `role`, so the column stays. Few people have sessions, so the table is small.
    op.execute(
        "-- squawk-ignore adding-field-with-default, disallowed-unique-constraint\n"
        "ALTER TABLE console_sessions ADD COLUMN id text NOT NULL UNIQUE "
        "DEFAULT 'ses_' || replace(CAST(gen_random_uuid() AS text), '-', ''), "
        "ADD COLUMN roles text[], ADD COLUMN provider_session text"
    )
    op.execute("CREATE TABLE logout_tokens (digest bytea PRIMARY KEY, received_at instant NOT NULL DEFAULT now())")


def downgrade() -> None:
    op.execute("DROP TABLE logout_tokens")
    op.execute("ALTER TABLE console_sessions DROP COLUMN id, DROP COLUMN roles, DROP COLUMN provider_session")
