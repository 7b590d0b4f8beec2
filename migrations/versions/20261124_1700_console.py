"""The console: sessions of people, and an index that its charts of attempts read by.

Revision ID: 0002_console
Revises: 0001
"""

from alembic import op

revision = "0002_console"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = """
-- A person's session: the cookie holds a random token, this table its digest. The key it was exchanged for is
-- named by digest too, so that a key that is revoked, expired or replaced ends its sessions by itself.
CREATE TABLE console_sessions (
  digest     bytea PRIMARY KEY CHECK (length(digest) = 32),
  key_digest bytea NOT NULL CHECK (length(key_digest) = 32),
  created_at instant NOT NULL DEFAULT now(),
  seen_at    instant NOT NULL DEFAULT now(),
  CHECK (created_at <= seen_at)
);

-- One row a request to Amazon: cheap to keep, and without it a chart of one destination reads every lane's.
-- A partitioned table takes no CONCURRENTLY; the table is a day's requests a partition.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX attempts_recent ON attempts (destination, started_at);
"""

DOWN = """
DROP INDEX attempts_recent;
DROP TABLE console_sessions;
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for statement in DOWN.split(";\n"):
        if statement.strip():
            op.execute(statement)
