"""Read what a reconciliation counts: stored batches, rejected events, repeated ids, mapping versions."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from app.domain.ids import BatchId, DestinationNumber, MappingNumber
from app.store import MAX_BIGINT, PipelineConnection, fetch_rows, read_row, read_sql
from app.store.events.batches import BatchRow, with_shapes
from app.store.mappings import Document

SQL: Final = read_sql(__file__)


async def batches_of_days(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    since: datetime,
    until: datetime,
    before: BatchId | None,
    limit: int,
) -> list[BatchRow]:
    """Return batches that may hold events of a time range, by the events' own times, newest first."""
    below = MAX_BIGINT if before is None else before
    rows = await connection.fetch(SQL["batches_of_days"], destination, since, until, below, limit)
    return await with_shapes(connection, rows)


@dataclass(frozen=True, slots=True)
class UnsentEvents:
    """Events of a mapping that were not accepted on a day. `rejected` have a reason of their own."""

    day: date
    mapping: MappingNumber
    without_consent: int
    repeated_ids: int
    rejected: int


async def unsent(
    connection: PipelineConnection, destination: DestinationNumber, *, first: date, last: date
) -> list[UnsentEvents]:
    """Return the events that were rejected, by day of receipt and mapping."""
    return await fetch_rows(connection, UnsentEvents, SQL["unsent"], destination, first, last)


async def mapped_duplicates(
    connection: PipelineConnection, destination: DestinationNumber, *, first: date, last: date
) -> list[tuple[date, BatchId, int]]:
    """Return (day, batch, place) of the accepted event, for each event that repeated its Amazon eventId."""
    return [tuple(row) for row in await connection.fetch(SQL["mapped_duplicates"], destination, first, last)]


@dataclass(frozen=True, slots=True)
class MappingVersion:
    """A published version of a mapping. `is_current` says that events use it.

    `dataset_name` is the data set at Amazon that the conversions of its destination go to.
    """

    mapping: MappingNumber
    version: int
    document: Document
    is_current: bool
    dataset_name: str | None


async def versions(connection: PipelineConnection, destination: DestinationNumber) -> list[MappingVersion]:
    """Return every published version of a destination's mappings, archived ones included."""
    rows = await connection.fetch(SQL["versions"], destination)
    return [read_row(MappingVersion, row, json=["document"]) for row in rows]
