"""An index over the few parcels that never went out whole, for lists by status and for replays.

Revision ID: 0008_never_left
Revises: 0007_status_callback
"""

from alembic import op

revision = "0008_never_left"
down_revision = "0007_status_callback"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A partitioned table takes no CONCURRENTLY; what is indexed are exceptions, the scan is over narrow rows.
    op.execute(
        "-- squawk-ignore require-concurrent-index-creation\n"
        "CREATE INDEX parcel_states_never_left ON parcel_states (destination, parcel) "
        "WHERE fate IN ('expired', 'discarded')"
    )


def downgrade() -> None:
    op.execute("DROP INDEX parcel_states_never_left")
