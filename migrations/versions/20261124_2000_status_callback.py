"""What the journey engine is told of final states: who wants it, what is owed, and the requests that carry it.

Revision ID: 0007_status_callback
Revises: 0006_states_in_spans
"""

from alembic import op

revision = "0007_status_callback"
down_revision = "0006_states_in_spans"
branch_labels = None
depends_on = None

TABLES = (
    # Destinations whose final states are told.
    "CREATE TABLE told_destinations ("
    "  destination integer PRIMARY KEY REFERENCES destinations (number),"
    "  since instant NOT NULL DEFAULT now(),"
    "  by_actor text NOT NULL)",
    # One request to the journey engine: made once, tried until it is taken, then deleted with its notices.
    "CREATE TABLE callbacks ("
    "  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    "  made_at instant NOT NULL DEFAULT now(),"
    "  due_at instant NOT NULL DEFAULT now(),"
    "  leased_until instant,"
    "  tries integer NOT NULL DEFAULT 0,"
    "  problem text)",
    # Conversions of one parcel that reached one final state in one transaction, and were not told yet.
    # `places` is null for all of a parcel that have no exception of their own.
    "CREATE TABLE notices ("
    "  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    "  destination integer NOT NULL,"
    "  parcel bigint NOT NULL,"
    "  day date NOT NULL,"
    "  places smallint[],"
    "  events smallint NOT NULL CHECK (events > 0),"
    "  status text NOT NULL CHECK (status IN ('delivered', 'dead', 'expired', 'suppressed', 'erased')),"
    "  code text,"
    "  reason text,"
    "  at instant NOT NULL DEFAULT now(),"
    "  callback bigint REFERENCES callbacks (id) ON DELETE CASCADE)",
    "CREATE INDEX notices_open ON notices (id) WHERE callback IS NULL",
    "CREATE INDEX notices_callback ON notices (callback) WHERE callback IS NOT NULL",
    "CREATE INDEX notices_destination ON notices (destination)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    for table in ("notices", "callbacks", "told_destinations"):
        op.execute(f"DROP TABLE {table}")
