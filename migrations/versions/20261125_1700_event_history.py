"""What an event's history needs: its attempts by index, item outcomes, replays, mapped duplicates.

Revision ID: 0011_event_history
Revises: 0010_what_is_final
"""

from alembic import op

revision = "0011_event_history"
down_revision = "0011_unreadable_batches"
branch_labels = None
depends_on = None

UP = (
    # How many events of an answered request Amazon accepted; the figures of a destination add them up.
    "ALTER TABLE attempts ADD delivered smallint",
    # A request on the fast path is named by its rows of parcel_states. All others are found here by what they
    # carried: written when they settle, never by a request that Amazon accepts at the first attempt.
    # A partitioned table takes no CONCURRENTLY; what is indexed are exceptions.
    "-- squawk-ignore require-concurrent-index-creation\n"
    "CREATE INDEX attempts_off_fast_path ON attempts USING gin (parcels) "
    "WHERE settled_at IS NOT NULL AND (outcome <> 'answered' OR places IS NOT NULL)",
    # What Amazon answered for this conversion, attempt by attempt; a replay leaves it. Bounded by the writer.
    # `attempts` is found by the index above.
    "-- squawk-ignore ban-drop-column\n"
    "ALTER TABLE exceptions DROP attempts, "
    "ADD item_outcomes jsonb[] NOT NULL DEFAULT '{}', ADD delivered_at instant, ADD replays integer[]",
    "ALTER TABLE parcel_states ADD replays integer[]",
    "CREATE TABLE replays ("
    "  id text PRIMARY KEY CHECK (id ~ '^rpl_[0-9a-z]{16,32}$'),"
    "  number integer GENERATED ALWAYS AS IDENTITY UNIQUE,"
    "  destination integer NOT NULL,"
    "  requested_at instant NOT NULL DEFAULT now(),"
    "  requested_by text NOT NULL,"
    "  status text NOT NULL CHECK (status IN ('dead', 'expired')),"
    "  reason text,"
    "  since instant,"
    "  until instant,"
    "  replayed integer NOT NULL DEFAULT 0)",
    # An event that was answered as a duplicate because its mapped Amazon eventId stood under another event id.
    # `key` is the ledger key that the event would have had; parcel and place are those of the other event.
    "CREATE TABLE mapped_duplicates ("
    "  key bytea PRIMARY KEY CHECK (length(key) = 16),"
    "  day date NOT NULL,"
    "  parcel bigint NOT NULL,"
    "  place smallint NOT NULL,"
    "  answered_at instant NOT NULL DEFAULT now())",
)

DOWN = (
    "DROP TABLE mapped_duplicates",
    "DROP TABLE replays",
    "ALTER TABLE parcel_states DROP replays",
    "ALTER TABLE exceptions DROP item_outcomes, DROP delivered_at, DROP replays, "
    "ADD attempts bigint[] NOT NULL DEFAULT '{}'",
    "DROP INDEX attempts_off_fast_path",
    "ALTER TABLE attempts DROP delivered",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
