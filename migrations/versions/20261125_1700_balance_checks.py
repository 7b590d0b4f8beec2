"""The result of the last balance check: do ledger, batches, states, exceptions and counts add up?

Revision ID: 0011_balance_checks
Revises: 0010_what_is_final
"""

from alembic import op

revision = "0011_balance_checks"
down_revision = "0010_what_is_final"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE balance_checks (
          id          smallint PRIMARY KEY CHECK (id = 1),
          owner       text NOT NULL,
          started_at  instant NOT NULL,
          finished_at instant,
          imbalance   bigint CHECK (imbalance >= 0),
          batches     bigint,
          -- [{"destination_id", "day", "kind", "events"}], the first hundred.
          mismatches  jsonb,
          CHECK ((finished_at IS NULL) = (imbalance IS NULL))
        )
        """
    )


def downgrade() -> None:
    op.execute("-- squawk-ignore ban-drop-table\nDROP TABLE balance_checks")
