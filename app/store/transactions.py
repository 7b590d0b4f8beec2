"""Settings and advisory locks that end with the current transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from app.store import PipelineConnection, fetch_scalar

# Every session's limit of a wait for a lock. Another session may hold a lock for as long as it likes, and
# whatever this session has locked waits meanwhile. Longer than `deadlock_timeout` of Postgres (1 s).
LOCK_TIMEOUT_S: Final = 2.0


async def set_lock_timeout(connection: PipelineConnection, *, seconds: float) -> None:
    """Let a statement of this transaction fail if it waits longer than `seconds` for a lock."""
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{seconds * 1000:.0f}")


async def set_statement_timeout(connection: PipelineConnection, *, seconds: int) -> None:
    """Let a statement of this transaction fail if it takes longer than `seconds`."""
    await connection.execute("SELECT set_config('statement_timeout', $1, true)", f"{seconds}s")


async def commit_without_waiting(connection: PipelineConnection) -> None:
    """Let the commit of this transaction return before its writes are on disk. A crash may lose them."""
    await connection.execute("SET LOCAL synchronous_commit = off")


async def lock(connection: PipelineConnection, number: int) -> None:
    """Wait for an advisory lock, and hold it until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", number)


async def try_lock(connection: PipelineConnection, number: int) -> bool:
    """Try to take an advisory lock until the transaction ends. Return False if another session holds it."""
    return await fetch_scalar(connection, bool, "SELECT pg_try_advisory_xact_lock($1)", number)


async def started_at(connection: PipelineConnection) -> datetime:
    """Return the start time of the transaction on the database's clock."""
    return await fetch_scalar(connection, datetime, "SELECT now()")


@asynccontextmanager
async def in_index_order(connection: PipelineConnection) -> AsyncIterator[None]:
    """Let Postgres read the newest rows by an index during the block, also without statistics.

    It would otherwise read all rows of a destination in the order of their pages, and sort them.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL random_page_cost = 1")
        yield
