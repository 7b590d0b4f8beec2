"""What the consent gate stopped, counted by the basis that each event was judged by.

Revision ID: 0009_consent_stops
Revises: 0008_never_left
"""

from alembic import op

revision = "0009_consent_stops"
down_revision = "0008_never_left"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Beside `rejections` and not in its key: API processes of the release before go on writing that table
    # while this one is made, and what they stop shows without a basis.
    op.execute(
        "CREATE TABLE consent_stops ("
        "  destination integer NOT NULL,"
        "  day date NOT NULL,"
        "  writer smallint NOT NULL,"
        "  reason text NOT NULL,"
        "  basis text NOT NULL CHECK (basis IN ('granted', 'amazon', 'tcf', 'gpp', 'none')),"
        "  events bigint NOT NULL DEFAULT 0,"
        "  PRIMARY KEY (destination, day, writer, reason, basis)"
        ") WITH (fillfactor = 70)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE consent_stops")
