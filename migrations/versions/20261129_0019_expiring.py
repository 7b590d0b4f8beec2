"""Indexes of what expires that no other statement can use.

Revision ID: 0019
Revises: 0018
"""

from alembic import op
from sqlalchemy import text

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# With statistics from a time without open events, Postgres estimates that each index of open events is empty, and may
# choose any of them: a claim then reads all open batches by their age. A statement can use these indexes only if it
# names both conditions. The second one is always true.
INDEXES = {
    "batch_states": "(last_event) WHERE settled_at IS NULL{}",
    "exceptions": "(event_at) WHERE status = 'retrying'{}",
}
NAMED = {
    "batch_states": " AND disposition IS NULL",
    "exceptions": " AND event_at >= timestamptz '2000-01-01+00'",
}
BUILD_LIMITS = {"lock_timeout": "60s", "statement_timeout": "0"}


def upgrade() -> None:
    for table, index in INDEXES.items():
        if not op.get_context().as_sql:
            _build(table, index.format(NAMED[table]))
    for table, index in INDEXES.items():
        # Neither reads rows: the second statement attaches the indexes that were built for the partitions.
        op.execute(f"-- squawk-ignore require-concurrent-index-deletion\nDROP INDEX {table}_aging")
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX IF NOT EXISTS {table}_expiring ON {table} {index.format(NAMED[table])}"
        )


def _build(table: str, index: str) -> None:
    """Build the index for each partition of a table while others read and write it."""
    names = text(
        "SELECT oid::regclass::text FROM pg_class LEFT JOIN pg_inherits ON inhrelid = oid "
        "WHERE relkind = 'r' AND CAST(:name AS regclass) IN (oid, inhparent)"
    )
    invalid = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    connection = op.get_bind()
    partitions = connection.scalars(names, {"name": table}).all()
    limits = {name: connection.scalar(text(f"SHOW {name}")) for name in BUILD_LIMITS}
    with op.get_context().autocommit_block():
        for name, value in BUILD_LIMITS.items():
            op.execute(f"SET {name} = '{value}'")
        for partition in partitions:
            if connection.scalar(invalid, {"name": f"{partition}_expiring"}):  # of an attempt that failed
                op.execute(f"DROP INDEX CONCURRENTLY {partition}_expiring")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {partition}_expiring ON {partition} {index}")
        for name, value in limits.items():
            op.execute(f"SET {name} = '{value}'")


def downgrade() -> None:
    for table, index in INDEXES.items():
        op.execute(f"DROP INDEX {table}_expiring")
        op.execute(f"CREATE INDEX {table}_aging ON {table} {index.format('')}")
