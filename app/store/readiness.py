"""Whether the database takes and keeps what it is given: found out by giving it something."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import partitions


@dataclass(frozen=True, slots=True)
class Durability:
    """Postgres's own settings on which the promise of a 202 rests, as this session has them."""

    fsync: bool
    synchronous_commit: bool
    full_page_writes: bool


async def write(connection: AsyncConnection) -> None:
    """Write a row; committing it proves that the database takes writes and that the disk follows."""
    await connection.execute(text("SET LOCAL lock_timeout = '1s'"))
    await connection.execute(
        text("INSERT INTO readiness (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()")
    )


async def durability(connection: AsyncConnection) -> Durability:
    """Return whether commits reach the disk. Every value of synchronous_commit but `off` waits for it."""
    row = (
        await connection.execute(
            text(
                "SELECT current_setting('fsync') = 'on' AS fsync, "
                "current_setting('synchronous_commit') <> 'off' AS synchronous_commit, "
                "current_setting('full_page_writes') = 'on' AS full_page_writes"
            )
        )
    ).one()
    return Durability(row.fsync, row.synchronous_commit, row.full_page_writes)


async def days_ahead(connection: AsyncConnection) -> int:
    """Return for how many days after today there are partitions."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return await partitions.days_ahead(driver)


async def seconds_apart(connection: AsyncConnection, now: float) -> float:
    """Return how far the database's clock is ahead of `now`, in seconds since 1970."""
    row = await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())"))
    return float(row.scalar_one()) - now
