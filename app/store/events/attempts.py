"""Read what happened to one event: its attempts, its replays, and the event that it duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.ids import BatchId, DestinationId, DestinationNumber
from app.domain.outcomes.event_history import AttemptRecord, EventReplay
from app.store import PipelineConnection, fetch_row, fetch_rows, read_row, read_sql, transposed
from app.store.events.batches import BatchRow, Numbers

SQL: Final = read_sql(__file__)

MOST_ATTEMPTS = 1_000  # per event; an outage of days causes more


async def attempts(
    connection: PipelineConnection, batch: BatchRow, place: int
) -> tuple[list[AttemptRecord], bool]:
    """Return the newest attempts that carried an event, in order of start, and whether none is left out.

    No attempt is older than the day of the event's batch. Attempts in dropped partitions are missing.
    """
    event = (batch.destination, batch.id, place, batch.day)
    rows = await connection.fetch(SQL["attempts"], *event, list(batch.attempts), MOST_ATTEMPTS + 1)
    newest = [read_row(AttemptRecord, row) for row in rows[:MOST_ATTEMPTS]]
    return newest[::-1], len(newest) == len(rows)


async def replays(connection: PipelineConnection, numbers: Sequence[int]) -> list[EventReplay]:
    """Return the replays with these numbers, oldest first."""
    return await fetch_rows(connection, EventReplay, SQL["replays"], list(numbers))


@dataclass(frozen=True, slots=True)
class MappedDuplicate:
    """An event that was answered as a duplicate because another event already had its Amazon eventId.

    `key` is the ledger key of the duplicate. `batch`, `place` and `destination` belong to the other event,
    which can have another destination: an eventId is unique per advertiser.
    """

    key: bytes
    batch: BatchId
    place: int
    answered_at: datetime
    destination: DestinationId


async def note_mapped_duplicates(
    connection: PipelineConnection, found: Sequence[tuple[bytes, BatchId, int]]
) -> None:
    """Record duplicates, each given as (its ledger key, batch and place of the accepted event).

    A key that was recorded before keeps its first record.
    """
    await connection.execute(SQL["note_mapped_duplicates"], *transposed(found, 3))


async def mapped_duplicates(connection: PipelineConnection, keys: Sequence[bytes]) -> list[MappedDuplicate]:
    """Return the stored duplicates with these ledger keys."""
    return await fetch_rows(connection, MappedDuplicate, SQL["mapped_duplicates"], list(keys))


@dataclass(frozen=True, slots=True)
class CarriedBatches:
    """The events of one request to Amazon: complete batches, or single events of them.

    For single events, `places` has the position of the event in the batch with the same index.
    """

    destination: DestinationNumber
    batches: tuple[BatchId, ...]
    places: tuple[int, ...] | None


async def find_request(
    connection: PipelineConnection, numbers: Numbers, request_id: str
) -> CarriedBatches | None:
    """Return the events of the request that Amazon gave this id, or None if no stored request has it."""
    return await fetch_row(connection, CarriedBatches, SQL["find_request"], numbers, request_id)
