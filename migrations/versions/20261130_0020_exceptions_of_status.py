"""The exceptions of a status by batch, for pages of lists, instead of by time.

Revision ID: 0020
Revises: 0019
"""

from alembic import op
from sqlalchemy import text

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# As in 0019, a statement can use these only if it names their conditions. Those on times are always true, and the second
# index is for status callbacks.
INDEXES = {
    "exceptions_of_status": "exceptions (destination, status, batch, day) WHERE day >= date '2000-01-01'",
    "exceptions_failed": "exceptions (destination, changed_at) "
    "WHERE status IN ('expired', 'dead') AND changed_at >= timestamptz '2000-01-01+00'",
}
BUILD_LIMITS = {"lock_timeout": "60s", "statement_timeout": "0"}


def upgrade() -> None:
    if not op.get_context().as_sql:
        _build()
    for name, index in INDEXES.items():
        # Reads no rows, because the index exists.
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX IF NOT EXISTS {name} ON {index}"
        )
    op.execute("-- squawk-ignore require-concurrent-index-deletion\nDROP INDEX exceptions_status")


def _build() -> None:
    """Build the indexes while others read and write the table."""
    connection = op.get_bind()
    invalid = connection.scalars(
        text(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = CAST('exceptions' AS regclass) AND NOT indisvalid"
        )
    ).all()
    limits = {name: connection.scalar(text(f"SHOW {name}")) for name in BUILD_LIMITS}
    with op.get_context().autocommit_block():
        for name, value in BUILD_LIMITS.items():
            op.execute(f"SET {name} = '{value}'")
        for name, index in INDEXES.items():
            if name in invalid:  # of an attempt that failed
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {index}")
        for name, value in limits.items():
            op.execute(f"SET {name} = '{value}'")


def downgrade() -> None:
    op.execute("CREATE INDEX exceptions_status ON exceptions (destination, status, changed_at)")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
