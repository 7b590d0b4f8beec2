"""Test by a write whether the database accepts writes, and read the settings for durable commits."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, batches, counts, flush, ledger, transactions
from app.store.database import partitions
from app.store.rows import read_row
from app.store.sql import read_sql
from app.store.statements import execute, fetch_one, fetch_value

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class Durability:
    """Whether the Postgres settings of this session guarantee that the event of a 202 survives a crash."""

    fsync: bool
    synchronous_commit: bool
    full_page_writes: bool


async def write(connection: AsyncConnection) -> None:
    """Write a row. If the caller can commit this row, the database accepts writes."""
    await execute(connection, "SET LOCAL lock_timeout = '1s'")
    await execute(
        connection,
        "INSERT INTO readiness (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()",
    )


async def durability(connection: AsyncConnection) -> Durability:
    """Return the settings of this session that make commits durable.

    A commit waits for the disk with every value of synchronous_commit except `off`.
    """
    row = await fetch_one(
        connection,
        "SELECT current_setting('fsync') = 'on' AS fsync, "
        "current_setting('synchronous_commit') <> 'off' AS synchronous_commit, "
        "current_setting('full_page_writes') = 'on' AS full_page_writes",
    )
    assert row is not None
    return read_row(Durability, row)


async def days_ahead(connection: AsyncConnection) -> int:
    """Return the number of days after today for which all partitions exist."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return await partitions.days_ahead(driver)


async def seconds_apart(connection: AsyncConnection, now: float) -> float:
    """Return the time of the database's clock minus `now`, in seconds. `now` is in seconds since 1970."""
    return float(await fetch_value(connection, "SELECT extract(epoch FROM clock_timestamp())")) - now


_NOBODY = DestinationNumber(0)  # no destination has this number


async def try_flush(connection: PipelineConnection) -> None:
    """Write rows as a flush does. It raises the errors of a flush; the caller rolls the rows back."""
    await transactions.set_lock_timeout(connection, seconds=1)
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", partitions.FLUSH_LOCK)
    generation = await ledger.current_generation(connection)
    [batch] = await batches.reserve_ids(connection, 1)
    # No other flush has this random key, so the insert waits for none.
    await ledger.claim(
        connection, generation, [ledger.LedgerEntry(secrets.token_bytes(16), bytes(16), batch, 0)]
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made = batches.NewBatch(batch, _NOBODY, b"probe", b"probe", 1, 1, at, at, b"probe")
    await flush.append(connection, [made], deltas={_NOBODY: counts.IngestCounts(accepted=1)})


async def try_claim(connection: PipelineConnection) -> None:
    """Read and write as a claim does. It raises the errors of a claim; the caller rolls the row back."""
    await transactions.set_lock_timeout(connection, seconds=1)
    await connection.fetch(SQL["read_due"])
    await connection.execute(SQL["write_attempt"])
