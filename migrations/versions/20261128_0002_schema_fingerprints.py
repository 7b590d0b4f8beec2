"""Schema samples with the members of closed lists, fingerprints of texts and numbers of different values.

Samples of the old format are deleted: they are collected again from new events.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("TRUNCATE schema_samples")
    # The fingerprints (keyed digests) of the texts of a destination's events by path. `closed` has the paths
    # that feed match keys and have no fingerprints.
    op.execute(
        """
        CREATE TABLE schema_fingerprints (
          destination integer PRIMARY KEY,
          closed      text[] NOT NULL,
          content     bytea NOT NULL DEFAULT '',
          generation  integer NOT NULL DEFAULT 0,
          erasures    integer NOT NULL DEFAULT 0
        )
        """
    )
    op.execute("ALTER TABLE schema_fingerprints ENABLE ROW LEVEL SECURITY")
    op.execute(
        """
        CREATE POLICY organisation ON schema_fingerprints USING ((SELECT acting_organisation()) = '*' OR EXISTS (
          SELECT FROM destinations p WHERE p.number = schema_fingerprints.destination
            AND p.organisation_id = acting_organisation()))
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE schema_fingerprints")
    op.execute("TRUNCATE schema_samples")
