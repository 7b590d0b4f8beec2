"""Read the input of the balance check, which compares the counts of events with the stored events."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from app.domain import batch as packing
from app.domain.balance import BalanceTotals, BatchBalance, MismatchKind
from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.store import PipelineConnection, Row, execute, fetch_map, fetch_optional, ledger, read_row, read_sql
from app.store.database import partitions

SQL: Final = read_sql(__file__)

# A row of `batch_states` or `exceptions` can lack its batch. The check looks for such rows up to this
# distance outside the range of the day's batch ids.
_MARGIN = 10_000


async def days(connection: PipelineConnection) -> list[date]:
    """Return the days whose batches are stored, newest first, without future days."""
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    return [day for day in reversed(await partitions.starts(connection, "batches")) if day <= today]


async def bounds(connection: PipelineConnection, day: date) -> tuple[int, int]:
    """Return the range of ids to check for a day: its batch ids and a margin on both sides."""
    [row] = await connection.fetch(SQL["bounds"], day)
    if row["first"] is None:
        return 0, row["newest"]
    return max(0, row["first"] - _MARGIN), row["last"] + _MARGIN


async def next_ids(
    connection: PipelineConnection, day: date, *, after: int, last: int, limit: int
) -> list[BatchId]:
    """Return the next `limit` ids above `after` that have a batch, a state or an exception on this day."""
    return [BatchId(row["id"]) for row in await connection.fetch(SQL["next_ids"], day, after, last, limit)]


@dataclass(frozen=True, slots=True, repr=False)
class StoredBatchState:
    """One stored batch. `shapes` is the metadata of its events; `accepted_at` is None without a state."""

    id: BatchId
    batch: BatchBalance
    accepted_at: datetime | None
    shapes: tuple[packing.EventMetadata, ...]

    def is_since(self, moment: datetime | None) -> bool:
        """Return whether the batch was accepted at or after this time; False if either time is unknown."""
        return moment is not None and self.accepted_at is not None and self.accepted_at >= moment


async def read(connection: PipelineConnection, day: date, ids: Sequence[BatchId]) -> list[StoredBatchState]:
    """Return the stored batch of each of these ids on a day. All rows come from one snapshot."""
    return [_stored(row) for row in await connection.fetch(SQL["read"], day, ids)]


def _stored(row: Row) -> StoredBatchState:
    found = packing.read_shapes(row["shapes"])
    shapes = None if found is None else tuple(found)
    batch = read_row(BatchBalance, row, places=None if shapes is None else len(shapes))
    return StoredBatchState(BatchId(row["id"]), batch, row["accepted_at"], shapes or ())


async def accepted(connection: PipelineConnection, day: date) -> dict[DestinationNumber, int]:
    """Return the number of events counted as accepted on a day, by destination."""
    return await fetch_map(connection, SQL["accepted"], day)


async def ledger_places(
    connection: PipelineConnection, keys: Collection[bytes]
) -> dict[bytes, tuple[int, int]]:
    """Return (batch, place) of each of these keys in the ledger, over all its generations."""
    found: dict[bytes, ledger.LedgerRow] = {}
    first: int = await connection.fetchval("SELECT min(generation) FROM ledger_generations")
    for newest in range(await ledger.current_generation(connection), first - 1, -ledger.SEARCHED):
        found = await ledger.find(connection, newest, list(keys)) | found
    return {key: (row.batch, row.place) for key, row in found.items()}


async def ledger_since(connection: PipelineConnection) -> datetime | None:
    """Return a time: every event that was accepted later has a key in the ledger.

    The time is one hour after the oldest generation began, because an event can be slightly older than the
    generation of its key. While the first generation is stored, the ledger is complete.
    """
    return await fetch_optional(connection, datetime, SQL["ledger_since"])


async def destinations(connection: PipelineConnection) -> dict[DestinationNumber, DestinationId]:
    """Return the ids of all destinations by their numbers."""
    return await fetch_map(connection, "SELECT number, id FROM destinations ORDER BY number")


async def mapping_ids(connection: PipelineConnection) -> dict[MappingNumber, MappingId]:
    """Return the ids of all mappings by their numbers."""
    return await fetch_map(connection, "SELECT number, id FROM mappings")


async def totals(
    connection: PipelineConnection, number: DestinationNumber, oldest: date | None
) -> BalanceTotals:
    """Return the counts of a destination, and the sums over its stored events that must equal them.

    Both come from one snapshot. `oldest` is the first day whose batches are stored.
    """
    rows = await connection.fetch(SQL["totals"], number, oldest)
    return BalanceTotals(
        counted={MismatchKind(row["kind"]): row["counted"] for row in rows},
        stored={MismatchKind(row["kind"]): row["stored"] for row in rows},
        is_complete=rows[0]["is_complete"],
    )


@dataclass(frozen=True, slots=True)
class BalanceResult:
    """The result of the last finished check. `mismatches` are the first ones found."""

    finished_at: datetime
    imbalance: int
    batches: int
    mismatches: list[dict[str, Any]]


async def begin(connection: PipelineConnection, owner: str, *, every: timedelta) -> int | None:
    """Start a check for the process `owner`, unless the last check began less than `every` ago.

    Return a number that grows by one each hour, or None if no check was started. The number selects which
    older day and which ledger keys the hourly check samples.
    """
    return await fetch_optional(connection, int, SQL["begin"], owner, every)


async def renew(connection: PipelineConnection, owner: str) -> bool:
    """Prolong a running check, so that no other process starts one. Return False if another process has."""
    statement = "UPDATE balance_checks SET started_at = now() WHERE id = 1 AND owner = $1"
    return await execute(connection, statement, owner) == 1


async def finish(
    connection: PipelineConnection, *, imbalance: int, batches: int, mismatches: Sequence[dict[str, Any]]
) -> None:
    """Store the result of a check."""
    await connection.execute(SQL["finish"], imbalance, batches, json.dumps(list(mismatches)))


async def last(connection: PipelineConnection) -> BalanceResult | None:
    """Return the result of the last finished check, or None before the first check."""
    row = await connection.fetchrow(SQL["last"])
    return None if row is None else read_row(BalanceResult, row, json=["mismatches"])
