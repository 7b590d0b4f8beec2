"""Digests of the ids of events, so that a search reads few batches.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLE = """
-- Which ids the batches of an organisation hold, from the first to the last of a range of batch ids: a digest of three
-- bytes for each id. NULL if a batch in the range cannot be read. The rows of an organisation do not overlap.
CREATE TABLE id_digests (
  organisation_id text NOT NULL,
  first_batch     bigint NOT NULL,
  last_batch      bigint NOT NULL,
  -- The day of the last batch.
  day             date NOT NULL,
  digests         bytea,
  PRIMARY KEY (organisation_id, first_batch),
  CHECK (first_batch <= last_batch)
)
"""


def upgrade() -> None:
    op.execute(TABLE)
    # Digests do not compress. Four rows fit on a page.
    op.execute("ALTER TABLE id_digests ALTER COLUMN digests SET STORAGE MAIN")
    # Where the next search for new batches begins.
    op.execute("CREATE INDEX id_digests_newest ON id_digests (last_batch)")
    op.execute("ALTER TABLE id_digests ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY organisation ON id_digests USING ("
        "organisation_id = (SELECT acting_organisation()) OR (SELECT acting_organisation()) = '*')"
    )


def downgrade() -> None:
    op.execute("DROP TABLE id_digests")
