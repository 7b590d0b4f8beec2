"""Settings and advisory locks that end with the current transaction."""

from datetime import datetime

from app.store import PipelineConnection


async def set_lock_timeout(connection: PipelineConnection, *, seconds: int) -> None:
    """Let statements of this transaction fail if they wait longer for a lock."""
    await connection.execute(f"SET LOCAL lock_timeout = '{seconds}s'")


async def set_statement_timeout(connection: PipelineConnection, *, seconds: int) -> None:
    """Let statements of this transaction fail if they take longer."""
    await connection.execute(f"SET LOCAL statement_timeout = '{seconds}s'")


async def commit_without_waiting(connection: PipelineConnection) -> None:
    """Do not wait for the disk at the commit: a server crash may lose the writes of this transaction."""
    await connection.execute("SET LOCAL synchronous_commit = off")


async def lock(connection: PipelineConnection, number: int) -> None:
    """Wait for an advisory lock."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", number)


async def try_lock(connection: PipelineConnection, number: int) -> bool:
    """Return whether the advisory lock was acquired."""
    is_free: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", number)
    return is_free


async def started_at(connection: PipelineConnection) -> datetime:
    """Return the start time of the transaction; outside of one, the current time."""
    now: datetime = await connection.fetchval("SELECT now()")
    return now
