"""Lanes learn and break, what is dead goes back on the road, what is a person's leaves it.

Revision ID: 0003_lanes_replay_erasure
Revises: 0002_console
"""

from alembic import op

revision = "0003_lanes_replay_erasure"
down_revision = "0002_console"
branch_labels = None
depends_on = None

UP = """
-- How the lane's owner last found Amazon; written by it now and then, for people and for its successor.
ALTER TABLE lanes
  ADD breaker text NOT NULL DEFAULT 'closed',
  ADD error_rate double precision NOT NULL DEFAULT 0,
  -- Counts the erasures asked for. An attempt starts only under the number its load was judged by.
  ADD erasures bigint NOT NULL DEFAULT 0;
ALTER TABLE lanes
  ADD CONSTRAINT lanes_breaker CHECK (breaker IN ('closed', 'open', 'half_open')) NOT VALID,
  ADD CONSTRAINT lanes_error_rate CHECK (error_rate BETWEEN 0 AND 1) NOT VALID;
-- A handful of rows: blocking for their check is no matter.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE lanes VALIDATE CONSTRAINT lanes_breaker, VALIDATE CONSTRAINT lanes_error_rate;

-- Queue 0 is live, queue 2 what was replayed or filled in afterwards: it must not stand in live's way.
ALTER TABLE exceptions
  ADD queue smallint NOT NULL DEFAULT 0,
  ADD erased_at instant;
ALTER TABLE exceptions ADD CONSTRAINT exceptions_queue CHECK (queue BETWEEN 0 AND 2) NOT VALID;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE exceptions VALIDATE CONSTRAINT exceptions_queue;
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX exceptions_due;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX exceptions_due ON exceptions (destination, queue, due_at, parcel, place) WHERE status = 'retrying';
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX parcel_states_open;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX parcel_states_open ON parcel_states (destination, queue, due_at, parcel) WHERE settled_at IS NULL;

-- 'events' is what a parcel still answers for; an erasure may take the last of them.
-- squawk-ignore ban-drop-constraint
ALTER TABLE parcel_states DROP CONSTRAINT parcel_states_events_check;
ALTER TABLE parcel_states ADD CONSTRAINT parcel_states_events_check CHECK (events BETWEEN 0 AND 500) NOT VALID;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE parcel_states VALIDATE CONSTRAINT parcel_states_events_check;

-- What is looked for is sealed, and forgotten when it was found; what remains names nobody.
CREATE TABLE erasures (
  id           text PRIMARY KEY CHECK (id ~ '^era_[0-9a-z]{16,32}$'),
  number       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  requested_at instant NOT NULL DEFAULT now(),
  requested_by text NOT NULL,
  kinds        text[] NOT NULL CHECK (cardinality(kinds) > 0),
  sealed       bytea,
  scanned_to   bigint NOT NULL DEFAULT 0,
  scanned      bigint NOT NULL DEFAULT 0,
  waiting      bigint NOT NULL DEFAULT 0,
  dead         bigint NOT NULL DEFAULT 0,
  delivered    bigint NOT NULL DEFAULT 0,
  finished_at  instant,
  CHECK ((finished_at IS NULL) = (sealed IS NOT NULL))
);
CREATE INDEX erasures_pending ON erasures (number) WHERE finished_at IS NULL;
"""

DOWN = """
DROP TABLE erasures;
ALTER TABLE parcel_states DROP CONSTRAINT parcel_states_events_check;
ALTER TABLE parcel_states ADD CONSTRAINT parcel_states_events_check CHECK (events BETWEEN 1 AND 500);
DROP INDEX parcel_states_open;
CREATE INDEX parcel_states_open ON parcel_states (destination, due_at, parcel) WHERE settled_at IS NULL;
DROP INDEX exceptions_due;
ALTER TABLE exceptions DROP queue, DROP erased_at;
CREATE INDEX exceptions_due ON exceptions (destination, due_at) WHERE status = 'retrying';
ALTER TABLE lanes DROP breaker, DROP error_rate, DROP erasures;
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for statement in DOWN.split(";\n"):
        if statement.strip():
            op.execute(statement)
