"""Details of Amazon's responses, and when an open circuit breaker lets the next probe pass.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Processes of the previous release write neither.
    op.execute("ALTER TABLE lanes ADD COLUMN probe_at instant")
    op.execute("""
        -- Amazon's response to a request that did not deliver every event: scrubbed, no value of an event.
        CREATE TABLE responses (
          attempt     bigint PRIMARY KEY,
          day         date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
          destination integer NOT NULL,
          content     text NOT NULL CHECK (octet_length(content) <= 2048)
        )
    """)
    op.execute("CREATE INDEX responses_day ON responses (day)")
    op.execute("ALTER TABLE responses ENABLE ROW LEVEL SECURITY")
    op.execute("""
        CREATE POLICY organisation ON responses USING ((SELECT acting_organisation()) = '*' OR EXISTS (
          SELECT FROM destinations p
          WHERE p.number = responses.destination AND p.organisation_id = acting_organisation()))
    """)


def downgrade() -> None:
    op.execute("DROP TABLE responses")
    op.execute("ALTER TABLE lanes DROP COLUMN probe_at")
