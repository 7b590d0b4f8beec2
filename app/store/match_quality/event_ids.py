"""Read what a comparison of event ids needs: the account, counts of accepted events, places of events."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from app.domain.ids import AdvertiserId, BatchId, DestinationNumber, MappingId, OrganisationId
from app.store import PipelineConnection
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class Account:
    """The advertiser of a destination, within which Amazon deduplicates."""

    organisation: OrganisationId
    region: str
    advertiser_id: AdvertiserId


async def account(connection: PipelineConnection, destination: DestinationNumber) -> Account:
    """Return the account of a destination of the organisation."""
    row = await connection.fetchrow(
        """
        SELECT organisation_id AS organisation, region, advertiser_id FROM destinations
        WHERE number = $1 AND organisation_id = acting_organisation()
        """,
        destination,
    )
    assert row is not None
    return read_row(Account, row)


async def mapping_ids(connection: PipelineConnection, destination: DestinationNumber) -> list[MappingId]:
    """Return the ids of a destination's mappings, archived ones included."""
    rows = await connection.fetch(
        """
        SELECT m.id FROM mappings m JOIN destinations d ON d.id = m.destination
        WHERE d.number = $1 AND m.organisation_id = acting_organisation()
        """,
        destination,
    )
    return [MappingId(row["id"]) for row in rows]


async def accepted(
    connection: PipelineConnection, destination: DestinationNumber, since: datetime, until: datetime
) -> int:
    """Return how many events a destination accepted in a time range, without erased ones."""
    number: int = await connection.fetchval(
        """
        SELECT coalesce(sum(events), 0)::bigint FROM batch_states
        WHERE destination = $1 AND accepted_at >= $2 AND accepted_at < $3
        """,
        destination,
        since,
        until,
    )
    return number


async def batches_between(
    connection: PipelineConnection,
    destination: DestinationNumber,
    since: datetime,
    until: datetime,
    ids: Collection[BatchId],
) -> set[BatchId]:
    """Return those of these batches that the destination accepted in a time range."""
    rows = await connection.fetch(
        """
        SELECT batch FROM batch_states WHERE destination = $1 AND accepted_at >= $2 AND accepted_at < $3
          AND batch = ANY($4::bigint[])
        """,
        destination,
        since,
        until,
        list(ids),
    )
    return {BatchId(row["batch"]) for row in rows}
