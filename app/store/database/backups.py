"""What the database knows about its backups: the last base backup, and the WAL that a backup waits for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.store import PipelineConnection
from app.store.rows import read_row

SLOT: Final = "conversions_backup"


@dataclass(frozen=True, slots=True)
class BackupState:
    """The backups of the database's server.

    `retained_bytes` is the WAL that the slot has and `backup --follow` has not received. It is infinite if
    the server removed WAL that was not received, and None without a slot.
    """

    base_verified_at: datetime | None = None
    # When `archive_command` last archived WAL, which other backup programs and providers use.
    wal_archived_at: datetime | None = None
    retained_bytes: float | None = None
    has_receiver: bool = False


async def note_base(connection: PipelineConnection) -> None:
    """Record that a base backup was verified now."""
    await connection.execute(
        "INSERT INTO last_base_backup VALUES (1, now()) "
        "ON CONFLICT (id) DO UPDATE SET verified_at = excluded.verified_at"
    )


async def has_slot(connection: PipelineConnection) -> bool:
    """Return whether the server has the slot of `backup --follow`."""
    exists: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", SLOT
    )
    return exists


async def read(connection: PipelineConnection) -> BackupState:
    """Return the state of the backups. No privilege is needed for views of Postgres."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT verified_at FROM last_base_backup) AS base_verified_at,
          (SELECT last_archived_time FROM pg_stat_archiver) AS wal_archived_at,
          CASE WHEN slot_name IS NOT NULL THEN coalesce(pg_wal_lsn_diff(
            -- A standby has no current position to write.
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
            -- Postgres forgets the position of a slot whose WAL it removed (max_slot_wal_keep_size).
            restart_lsn)::float8, 'Infinity') END AS retained_bytes,
          coalesce(active, false) AS has_receiver
        -- One row, also without a slot.
        FROM (SELECT) AS server LEFT JOIN pg_replication_slots ON slot_name = $1
        """,
        SLOT,
    )
    assert row is not None
    return read_row(BackupState, row)
