"""Test by a write whether the database accepts writes, and read the settings for durable commits."""

import secrets
from datetime import UTC, datetime
from typing import Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, batches, counts, flush, ledger, read_sql, transactions
from app.store.database import partitions

SQL: Final = read_sql(__file__)


async def write(connection: PipelineConnection) -> None:
    """Write a row. If the caller can commit this row, the database accepts writes."""
    await transactions.set_lock_timeout(connection, seconds=1)
    await connection.execute(SQL["write"])


async def unsafe_settings(connection: PipelineConnection) -> list[str]:
    """Return a reason for each setting that is off, without which a crash can lose the event of a 202.

    A commit waits for the disk with every value of synchronous_commit except `off`.
    """
    return [row["reason"] for row in await connection.fetch(SQL["unsafe_settings"])]


async def seconds_apart(connection: PipelineConnection, now: float) -> float:
    """Return the time of the database's clock minus `now`, in seconds. `now` is in seconds since 1970."""
    return float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")) - now


_NO_DESTINATION = DestinationNumber(0)


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
    made = batches.NewBatch(batch, _NO_DESTINATION, b"probe", b"probe", 1, 1, at, at, b"probe")
    await flush.append(connection, [made], deltas={_NO_DESTINATION: counts.IngestCounts(accepted=1)})


async def try_claim(connection: PipelineConnection) -> None:
    """Read and write as a claim does. It raises the errors of a claim; the caller rolls the row back."""
    await transactions.set_lock_timeout(connection, seconds=1)
    await connection.fetch(SQL["read_due"])
    await connection.execute(SQL["write_attempt"])
