"""Read what a comparison of event ids needs: the account, counts of accepted events, places of events."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.ids import AdvertiserId, BatchId, DestinationNumber, MappingId, OrganisationId
from app.store import PipelineConnection, fetch_only, fetch_scalar, read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class Account:
    """The advertiser of a destination, within which Amazon deduplicates."""

    organisation: OrganisationId
    region: str
    advertiser_id: AdvertiserId


async def account(connection: PipelineConnection, destination: DestinationNumber) -> Account:
    """Return the account of a destination of the organisation."""
    return await fetch_only(connection, Account, SQL["account"], destination)


async def mapping_ids(connection: PipelineConnection, destination: DestinationNumber) -> list[MappingId]:
    """Return the ids of a destination's mappings, archived ones included."""
    rows = await connection.fetch(SQL["mapping_ids"], destination)
    return [MappingId(row["id"]) for row in rows]


async def accepted(
    connection: PipelineConnection, destination: DestinationNumber, since: datetime, until: datetime
) -> int:
    """Return how many events a destination accepted in a time range, without erased ones."""
    return await fetch_scalar(connection, int, SQL["accepted"], destination, since, until)


async def batches_between(
    connection: PipelineConnection,
    destination: DestinationNumber,
    since: datetime,
    until: datetime,
    ids: Collection[BatchId],
) -> set[BatchId]:
    """Return those of these batches that the destination accepted in a time range."""
    rows = await connection.fetch(SQL["batches_between"], destination, since, until, list(ids))
    return {BatchId(row["batch"]) for row in rows}
