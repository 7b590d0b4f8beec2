"""What Amazon showed of an account at sign-in, and what people confirm where Amazon cannot be asked.

Revision ID: 0005_preflight
Revises: 0004_outlines_and_chain
"""

from alembic import op

revision = "0005_preflight"
down_revision = "0004_outlines_and_chain"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE amazon_accounts ("
        "  destination text PRIMARY KEY REFERENCES destinations (id),"
        "  name text,"
        "  currency text CHECK (currency ~ '^[A-Z]{3}$'),"
        "  seen_at instant NOT NULL DEFAULT now())"
    )
    op.execute(
        "CREATE TABLE confirmations ("
        "  destination text NOT NULL REFERENCES destinations (id),"
        "  what text NOT NULL CHECK (what IN ('permission', 'terms')),"
        "  confirmed_by text NOT NULL,"
        "  confirmed_at instant NOT NULL DEFAULT now(),"
        "  PRIMARY KEY (destination, what))"
    )


def downgrade() -> None:
    op.execute("DROP TABLE confirmations")
    op.execute("DROP TABLE amazon_accounts")
