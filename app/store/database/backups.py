"""What the database knows about its backups: the last base backup, and the WAL that a backup waits for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.store import PipelineConnection, fetch_only, fetch_scalar, read_sql

SQL: Final = read_sql(__file__)

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
    await connection.execute(SQL["note_base"])


async def drop_lost_slot(connection: PipelineConnection) -> None:
    """Drop the slot of `backup --follow` if the server removed its WAL. A backup needs a new one."""
    await connection.execute(SQL["drop_lost_slot"], SLOT)


async def has_slot(connection: PipelineConnection) -> bool:
    """Return whether the server has the slot of `backup --follow`."""
    return await fetch_scalar(connection, bool, SQL["has_slot"], SLOT)


async def read(connection: PipelineConnection) -> BackupState:
    """Return the state of the backups. No privilege is needed for views of Postgres."""
    return await fetch_only(connection, BackupState, SQL["read"], SLOT)
